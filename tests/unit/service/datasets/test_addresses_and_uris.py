"""Which addresses are public, in all their spellings, and what an address may look like."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from service.datasets import NetworkPolicy, check_uri
from service.datasets.addresses import is_public, literal_address, plain_host, resolve_name
from service.datasets.uris import FORBIDDEN
from service.errors import DatasetError

_NOT_PUBLIC = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "168.63.129.16", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::1", "2002:a9fe:a9fe::",
    "2002:808:808::", "2001:0:808:808::1", "2001:db8::1", "fe80::1", "fe80::1%eth0", "fec0::1",
    "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1", "5f00::1", "100::1",
]  # fmt: skip


@pytest.mark.parametrize("text", _NOT_PUBLIC)
def test_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111"])
def test_public(text: str) -> None:
    assert is_public(ip_address(text))


_LOOPBACK_SPELLINGS = [
    "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "127.0.1", "0",
    "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\uff11\uff12\uff17.0.0.1",
    "localhost", "LOCALHOST.", "foo.localhost", "metadata.google.internal", "printer", "a.local",
    "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[fe80::1%25eth0]",
    "169.254.169.254", "0xa9fea9fe", "192.168.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", _LOOPBACK_SPELLINGS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_hosts_in_any_spelling(scheme: str, host: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_uri(f"{scheme}://{host}/x.npz")
    assert caught.value.code == "dataset-uri-forbidden"
    assert str(caught.value) == FORBIDDEN  # one text for all: nothing to learn from it


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("ftp://example.com/x.npz", "dataset-scheme"),
        ("gopher://example.com/", "dataset-scheme"),
        ("simplecache::https://example.com/x", "dataset-scheme"),
        ("zip://*.npz::file:///etc/passwd", "dataset-scheme"),
        ("s3://bucket/x.npz", "dataset-scheme"),
        ("data.npz", "dataset-scheme"),
        ("/tmp/data.npz", "dataset-scheme"),
        ("", "dataset-scheme"),
        ("http:example.com", "dataset-scheme"),
        ("https://example.com/x\r\nHost: other", "dataset-scheme"),
        (" https://example.com/x", "dataset-scheme"),
        ("https://example.com/" + "x" * 9000, "dataset-scheme"),
        ("https://user:secret@example.com/x", "dataset-uri-credentials"),
        ("https://user@example.com/x", "dataset-uri-credentials"),
        ("https://example.com@127.0.0.1/x", "dataset-uri-credentials"),
        ("https://example.com:22/x", "dataset-uri-forbidden"),
        ("https://example.com:99999/x", "dataset-uri-forbidden"),
        ("https://[::1/x", "dataset-uri-forbidden"),
        ("https:///x", "dataset-uri-forbidden"),
        ("https://a..b/x", "dataset-uri-forbidden"),
        ("https://" + "a" * 70 + ".com/x", "dataset-uri-forbidden"),
        ("file:///etc/passwd", "dataset-uri-forbidden"),
        ("file://example.com/etc/passwd", "dataset-uri-forbidden"),
    ],
)
def test_refused(uri: str, code: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_uri(uri)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


def test_public_addresses_are_made_plain() -> None:
    made = check_uri("HTTPS://B\u00fccher.Example.com:443/a b/\u00fc?x=1#part")
    assert made.text == "https://xn--bcher-kva.example.com/a%20b/%C3%BC?x=1"
    assert (made.scheme, made.host, made.port) == ("https", "xn--bcher-kva.example.com", 443)
    assert check_uri("http://8.8.8.8").text == "http://8.8.8.8/"
    assert check_uri("http://[2606:4700::1111]/x").text == "http://[2606:4700::1111]/x"
    network = NetworkPolicy(ports=frozenset({8080}))
    assert check_uri("http://example.com:8080/x", network=network).text.endswith(":8080/x")


def test_files_only_below_the_roots(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "data set.npz").write_bytes(b"x")
    (outside / "secret.npz").write_bytes(b"x")
    (root / "link.npz").symlink_to(outside / "secret.npz")
    (root / "folder").symlink_to(outside)
    (root / "alias.npz").symlink_to(root / "data set.npz")
    inside = (root / "data set.npz").as_uri()
    assert check_uri(inside, roots=[root]).text == str(root / "data set.npz")
    assert check_uri(f"file://localhost{root}/alias.npz", roots=[root]).scheme == "file"
    for uri in (
        (outside / "secret.npz").as_uri(),
        f"file://{root}/../outside/secret.npz",
        f"file://{root}/%2e%2e/outside/secret.npz",
        (root / "link.npz").as_uri(),
        f"file://{root}/folder/secret.npz",
        f"file://{root}x/data.npz",
        inside + "?query",
        inside + "%00",
    ):
        with pytest.raises(DatasetError) as caught:
            check_uri(uri, roots=[root])
        assert (caught.value.code, str(caught.value)) == ("dataset-uri-forbidden", FORBIDDEN)
    with pytest.raises(DatasetError):
        check_uri(inside)  # off unless roots are configured


def test_hosts_and_literals() -> None:
    assert literal_address("example.com") is None
    assert str(literal_address("127.1")) == "127.0.0.1"
    assert plain_host("EXAMPLE.com.") == "example.com"
    with pytest.raises(ValueError, match="host name"):
        plain_host("a" * 64 + ".com")


def test_the_resolver_gives_each_address_once() -> None:
    assert list(resolve_name("127.0.0.1", 80)) == ["127.0.0.1"]
