"""Where copies of outputs go: right settings, wrong ones, and what of them is secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.config import Config

from .conftest import TOKEN, Load

Problem = Callable[..., str]

SOURCE = f'[sources.it]\nprovider = "civitai"\nhook_token = "{TOKEN}"\ncollect = true\n'
KEYS = 'access_key = "access-key-0001"\nsecret_key = "secret-key-0001"\n'
BUCKET = f'[collect.s3]\nbucket = "my-bucket"\nendpoint = "https://s3.example.com"\n{KEYS}'


def test_a_folder_is_enough(load: Load) -> None:
    config = load(f'{SOURCE}[collect]\nfolder = "/var/copies"\nlargest = "1 GiB"\nconcurrency = 2')
    assert (config.collect.folder, config.collect.largest, config.collect.concurrency) == (
        Path("/var/copies"),
        2**30,
        2,
    )
    assert config.policy("it").collect
    assert not Config().collect.anywhere


def test_so_is_a_bucket_and_its_keys_are_secret(load: Load) -> None:
    config = load(SOURCE + BUCKET + 'region = "eu"\nprefix = "a/b/"')
    bucket = config.collect.s3
    assert bucket is not None
    assert (bucket.bucket, bucket.endpoint, bucket.region, bucket.prefix) == (
        "my-bucket", "https://s3.example.com", "eu", "a/b",
    )  # fmt: skip
    assert {"access-key-0001", "secret-key-0001"} <= config.secret_values()
    assert "0001" not in repr(config)


def test_its_keys_may_lie_in_files_and_in_the_environment(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret-key-0002\n")
    lines = BUCKET.replace(KEYS, 'secret_key_file = "key"\n')
    config = load(SOURCE + lines, COLLECT__S3__ACCESS_KEY="access-key-0002")
    assert config.collect.s3 is not None
    assert config.collect.s3.secret_key is not None
    assert config.collect.s3.secret_key.get_secret_value() == "secret-key-0002"
    assert {"access-key-0002", "secret-key-0002"} <= config.secret_values()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOURCE, "source it has collect = true, but nothing says where to; add [collect]"),
        (SOURCE + "[collect]\nlargest = '1 GiB'", "nothing says where to"),
        ("[collect]\nlargest = 0", "collect.largest = 0: must be a size"),
        ("[collect]\nconcurrency = 65", "collect.concurrency = 65: must be less than or equal to 64"),
        ("[collect]\nfoldr = 'x'", "collect.foldr: no such setting; did you mean folder?"),
        (BUCKET.replace("my-bucket", "My_Bucket"), "collect.s3.bucket"),
        (BUCKET + "prefix = '../x'", "must not hold . or .."),
        (BUCKET + "prefix = 'a b'", "must be made of letters"),
        (BUCKET.replace("https", "http"), "must be https://"),
        (BUCKET.replace("https://", "https://u:hunter2hunter2@"), "must not hold a user or password"),
        (BUCKET.replace('secret_key = "secret-key-0001"\n', ""), "belong together"),
        (BUCKET.replace(KEYS, ""), "needs access_key and secret_key"),
        (BUCKET.replace("secret-key-0001", "hunter2 hunter2"), "collect.s3.secret_key = (secret): must be the key"),
        (BUCKET + 'secret_key_file = "x"', "secret_key is set too"),
        (BUCKET + 'secret_kee = "hunter2hunter2"', "did you mean secret_key"),
        ("[collect]\ns3 = 'hunter2hunter2'", "must be a table"),
    ],
)
def test_a_wrong_one_stops_the_start_with_what_would_be_right(problem: Problem, text: str, words: str) -> None:
    said = problem(text)
    assert words in said
    assert "hunter2" not in said
    assert "-0001" not in said
