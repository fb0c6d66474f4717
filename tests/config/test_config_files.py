"""Where output files may lie when a provider says no hosts: on the internet, and nowhere near us (R17)."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from receiver.config.files import files_lie_at
from tests.config.conftest import Load
from tests.config.test_config_sources import table


@pytest.mark.parametrize(
    ("url", "lies"),
    [
        ("https://cdn.upstream.example/a.png", True),
        ("https://files.elsewhere.example/a.png", True),
        ("https://93.184.215.14/a.png", True),
        ("http://files.elsewhere.example/a.png", False),
        ("https://127.0.0.1/a.png", False),
        ("https://localhost/a.png", False),
        ("https://app.localhost/a.png", False),
        ("https://10.0.0.7/a.png", False),
        ("https://192.168.1.1/a.png", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://metadata.google.internal/", False),
        ("https://[::1]/a.png", False),
        ("https://[fd00::1]/a.png", False),
        ("https://[::ffff:10.0.0.7]/a.png", False),
        ("https://2130706433/a.png", False),
        ("https://0x7f.1/a.png", False),
    ],
)
def test_any_host_of_the_internet_will_do_and_none_of_ours(load: Load, url: str, lies: bool) -> None:
    source = load(table('trust = "none"')).sources["it"]
    assert source.habits.blob_hosts == ()
    assert files_lie_at(source, urlsplit(url)) is lies


def test_private_hosts_will_do_where_upstream_may_be_private(load: Load) -> None:
    source = load(table('trust = "none"', "allow_private = true")).sources["it"]
    assert files_lie_at(source, urlsplit("https://10.0.0.7/a.png"))
    assert not files_lie_at(source, urlsplit("https://0x7f.1/a.png")), "one address, read in two ways"
