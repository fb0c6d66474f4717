"""`hookledger demo`: the whole story on this machine, against a stand-in upstream, compared with what is true."""
