"""What build-without-engine.sh --try needs of a MongoDB client, with nothing but Python: write, compare, drop.

    python3 try_documents.py write URI DATABASE     writes a mixed load, prints the cluster time from before it
    python3 try_documents.py compare URI DATABASE   exits with 1 unless DATABASE_copy holds the same bytes
    python3 try_documents.py drop URI DATABASE      drops both

Speaks to the first host of the URI, without TLS and passwords: servers for tests.
"""

import socket
import struct
import sys
from urllib.parse import urlsplit

COLLECTION = "orders"
OP_MSG = 2013


def main(verb, uri, database):
    with Connection(uri) as connection:
        if verb == "write":
            print(write(connection, database))
        elif verb == "compare":
            print(compare(connection, database))
        elif verb == "drop":
            for name in (database, database + "_copy"):
                connection.run(name, {"dropDatabase": 1})
        else:
            sys.exit(__doc__)


def write(connection, database):
    seconds_and_increment = connection.run("admin", {"ping": 1})["operationTime"]
    documents = [
        {"_id": i, "customer": f"c-{i % 7}", "total": i / 8, "lines": {"sku": "ä€😀", "empty": {}}, "paid": i % 2 == 0}
        for i in range(1000)
    ]
    connection.run(database, {"insert": COLLECTION, "documents": documents})
    late = {"q": {"_id": {"$gte": 900}}, "u": {"$set": {"lines.sku": "new"}, "$unset": {"paid": ""}}, "multi": True}
    connection.run(database, {"update": COLLECTION, "updates": [late]})
    connection.run(database, {"delete": COLLECTION, "deletes": [{"q": {"_id": {"$lt": 100}}, "limit": 0}]})
    return "{}:{}".format(*seconds_and_increment)


def compare(connection, database):
    names = (database, database + "_copy")
    # dbHash digests the bytes of every document in the order of _id; fields in another order give another digest.
    digests = [connection.run(name, {"dbHash": 1, "collections": [COLLECTION]})["collections"] for name in names]
    counts = [connection.run(name, {"count": COLLECTION})["n"] for name in names]
    if counts != [900, 900] or digests[0] != digests[1] or COLLECTION not in digests[0]:
        sys.exit(f"the copy is not the original: {counts[0]} and {counts[1]} documents, {digests[0]} and {digests[1]}")
    return f"try: {counts[0]} documents: identical"


class Connection:
    """One connection, one command at a time. A command that fails ends the program."""

    def __init__(self, uri):
        host, _, port = urlsplit(uri).netloc.rpartition("@")[2].split(",")[0].partition(":")
        self.socket = socket.create_connection((host, int(port or 27017)), timeout=30)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def run(self, database, command):
        body = struct.pack("<IB", 0, 0) + encode({**command, "$db": database})
        self.socket.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, OP_MSG) + body)
        length = struct.unpack("<i", self.stream.read(4))[0]
        message = self.stream.read(length - 4)
        # What is left of the header, the flags and the kind of the only section.
        reply, _ = decode(message, 12 + 4 + 1)
        if reply.get("ok") != 1 or reply.get("writeErrors"):
            sys.exit(f"{next(iter(command))} on {database}: {reply.get('errmsg', reply)}")
        return reply


def encode(document):
    elements = b"".join(element(name, value) for name, value in document.items())
    return struct.pack("<i", len(elements) + 5) + elements + b"\0"


def element(name, value):
    # bool before int, because it is one.
    if isinstance(value, bool):
        kind, content = 0x08, struct.pack("<?", value)
    elif isinstance(value, int):
        kind, content = 0x10, struct.pack("<i", value)
    elif isinstance(value, float):
        kind, content = 0x01, struct.pack("<d", value)
    elif isinstance(value, str):
        text = value.encode() + b"\0"
        kind, content = 0x02, struct.pack("<i", len(text)) + text
    elif isinstance(value, dict):
        kind, content = 0x03, encode(value)
    elif isinstance(value, list):
        kind, content = 0x04, encode({str(index): item for index, item in enumerate(value)})
    else:
        raise TypeError(f"{name}: {type(value)}")
    return bytes([kind]) + name.encode() + b"\0" + content


def decode(data, at):
    """The document at `at`, and where it ends. Types that no reply to us has are an error."""
    end = at + struct.unpack_from("<i", data, at)[0]
    at, document = at + 4, {}
    while data[at]:
        kind = data[at]
        name_end = data.index(0, at + 1)
        name, at = data[at + 1 : name_end].decode(), name_end + 1
        document[name], at = decode_value(kind, data, at)
    return document, end


def decode_value(kind, data, at):
    if kind in (0x03, 0x04):
        return decode(data, at)
    if kind == 0x02:
        length = struct.unpack_from("<i", data, at)[0]
        return data[at + 4 : at + 3 + length].decode(), at + 4 + length
    if kind == 0x05:
        length = struct.unpack_from("<i", data, at)[0]
        return data[at + 5 : at + 5 + length], at + 5 + length
    if kind == 0x07:
        return data[at : at + 12], at + 12
    if kind == 0x0A:
        return None, at
    if kind == 0x11:
        increment, seconds = struct.unpack_from("<II", data, at)
        return (seconds, increment), at + 8
    layout = {0x01: "<d", 0x08: "<?", 0x09: "<q", 0x10: "<i", 0x12: "<q"}[kind]
    return struct.unpack_from(layout, data, at)[0], at + struct.calcsize(layout)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
