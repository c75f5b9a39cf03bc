"""Reads a segment of Duramen by docs/format.md, with none of its code: python3 format_reader.py FILE.seg

Prints one JSON array a record: [Seq, time in ns, stream, [[name, type, text], ..]]. Checks every CRC on the way. The
roots are left out, since Python has no BLAKE3; so is the index, which is derived. Unpacks with the command `zstd`.
"""

import json
import struct
import subprocess
import sys
import zlib

INTS_MAX = 1 << 16


def check(good, what):
    if not good:
        raise SystemExit(f"damaged: {what}")


def crc_ends(data, what):
    check(zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0], what)


def unpack(stored, codec, raw, crc, what):
    check(zlib.crc32(stored) == crc, f"CRC of {what}")
    check(codec in (0, 1), f"codec of {what}")
    if codec == 1:
        stored = subprocess.run(["zstd", "-dcq"], input=stored, stdout=subprocess.PIPE, check=True).stdout
    check(len(stored) == raw, f"length of {what}")
    return stored


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        check(self.at + n <= len(self.data), "a length beyond the end")
        self.at += n
        return self.data[self.at - n : self.at]

    def fixed(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def u8(self):
        return self.take(1)[0]

    def varint(self):
        n = shift = 0
        while True:
            b = self.u8()
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n

    def zigzag(self):
        n = self.varint()
        return n >> 1 ^ -(n & 1)

    def bytes(self):
        return self.take(self.varint())

    def text(self):
        return self.bytes().decode()

    def list(self, item):
        return [item() for _ in range(self.varint())]

    def end(self):
        check(self.at == len(self.data), "something behind the end")


def signed(n):
    n &= (1 << 64) - 1
    return n - (1 << 64) if n >> 63 else n


def integers(data):
    r = Reader(data)
    mode, count, base, factor, width = r.u8(), r.varint(), r.zigzag(), r.varint(), r.u8()
    check(mode < 4 and count <= INTS_MAX, "integers")
    if mode & 1:
        planes = [r.take(count) for _ in range(width)]
        numbers = [sum(plane[i] << 8 * p for p, plane in enumerate(planes)) for i in range(count)]
    else:
        body = int.from_bytes(r.take((count * width + 7) // 8), "little")
        numbers = [body >> i * width & (1 << width) - 1 for i in range(count)]
    r.end()
    if mode & 2:
        total, sums = 0, []
        for n in numbers:
            total += n >> 1 ^ -(n & 1)
            sums.append(total)
        numbers = sums
    return [signed(base + factor * n) for n in numbers]


def decimal(n, places):
    digits = str(abs(n)).rjust(places + 1, "0")
    return ("-" if n < 0 else "") + digits[:-places] + "." + digits[-places:]


class Block:
    def __init__(self, data):
        head = Reader(data[:80])
        crc_ends(head.data, "block head")
        check(head.take(7) == b"DuraBlk", "magic of a block")
        self.version = head.take(1)[0]
        check(self.version in (1, 2), "version of a block")
        length, self.rows, self.first, self.last, self.low, self.high = head.fixed("QIqqQQ")
        stored, raw, codec, crc, cipher = head.fixed("IIIIQ")
        check(length == len(data) and cipher == 0, "block head")
        self.pages = Reader(data[80 + stored :])
        self.r = Reader(unpack(data[80 : 80 + stored], codec, raw, crc, "block header"))
        self.times = self.chunk(raw=True)
        self.seqs = self.chunk(raw=True)
        self.streams = [text for _, text in self.chunk()]
        self.templates = {}
        self.columns = [self.column(number) for number in range(self.r.varint())]
        self.overflow, names = [], []
        if self.r.u8():
            self.overflow = [text for _, text in self.chunk()]
            names = self.r.list(self.r.text)
        self.presence()
        self.put_together()
        self.r.end()
        self.pages.end()
        found = {name for value in self.overflow for name, _, _ in netstrings(value)}
        check(found == set(names), "names of the overflow column")

    def column(self, number):
        name = self.r.text()
        values = self.chunk(column=number)
        zone = self.zone()
        check(zone == len(values), f"zone map of {name}")
        return name, values

    def zone(self):
        r = self.r
        flags, values, _empty = r.u8(), r.varint(), r.varint()
        r.bytes(), r.bytes()
        for flag in (2, 4):
            if flags & flag:
                low, high = r.fixed("dd")
                check(low <= high, "range of a zone map")
        if flags & 16:
            r.varint()
        if flags & 32:
            counts = r.list(lambda: (r.u8(), r.bytes(), r.varint()))
            check(sum(c[2] for c in counts) == values and counts == sorted(counts), "counts of a zone map")
        return values

    def page(self):
        rows, stored, raw = self.r.varint(), self.r.varint(), self.r.varint()
        (crc,) = self.r.fixed("I")
        check(rows <= INTS_MAX, "a page")
        return rows, unpack(self.pages.take(stored), raw & 1, raw >> 1, crc, "a page")

    def integers(self):
        out = []
        for rows, data in self.r.list(self.page):
            run = integers(data)
            check(len(run) == rows, "integers of a page")
            out += run
        return out

    def encoding(self, rows, raw):
        kind = self.r.u8()
        if kind == 0:
            return [self.r.text()] * rows, None
        if kind == 1:
            count = self.r.varint()
            entries, _ = self.encoding(count, False)
            check(len(entries) == count, "entries")
            codes = self.integers()
            return [entries[c] for c in codes], codes
        if kind == 2:
            values = self.integers()
            return (values if raw else [str(n) for n in values]), None
        if kind == 3:
            places = self.r.u8()
            return [decimal(n, places) for n in self.integers()], None
        if kind == 4:
            form, prefix, width = self.r.u8(), "", {0: 4, 1: 16}
            if form == 2:
                width[2] = self.r.u8()
                prefix = self.r.text()
            out = []
            for n, data in self.r.list(self.page):
                check(len(data) == n * width[form], "a fixed page")
                parts = [data[i : i + width[form]] for i in range(0, len(data), width[form])]
                out += parts if raw else [fixed_text(form, prefix, p) for p in parts]
            return out, None
        check(kind == 5, f"an encoding: {kind}")
        out = []
        for n, data in self.r.list(self.page):
            texts = Reader(data)
            lengths = [texts.varint() for _ in range(n)]
            out += [texts.take(length).decode() for length in lengths]
            texts.end()
        return out, None

    def template(self, column):
        """Keeps what the texts are put together from, and gives places for them."""
        rank = self.r.u8()
        check(rank <= 7, "a rank")
        count, data = self.page()
        page, templates = Reader(data), []
        for _ in range(count):
            parts = page.list(lambda: (page.text(), page.varint()))
            templates.append((parts, page.text()))
        page.end()
        codes = self.integers()
        fills = []
        for _ in range(self.r.varint()):
            kind = self.r.u8()
            check(kind < 2, "a fill")
            if kind == 0:
                fills.append(self.r.varint())
            else:
                values = self.r.varint()
                texts, _ = self.encoding(values, False)
                check(len(texts) == values, "values of a fill")
                fills.append(texts)
        self.templates[column] = rank, templates, codes, fills
        return [None] * len(codes)

    def put_together(self):
        """Texts of templates; presence says which rows of another column theirs are."""
        for column, (rank, templates, codes, fills) in sorted(self.templates.items(), key=lambda item: item[1][0]):
            others = {}
            for number in (fill for fill in fills if isinstance(fill, int)):
                check(self.templates.get(number, (0,))[0] < rank, "rank of a reference")
                others[number] = dict(zip(self.has[number], self.columns[number][1]))
            own = {number: iter(texts) for number, texts in enumerate(fills) if not isinstance(texts, int)}
            name, values = self.columns[column]
            texts = []
            for row, code in zip(self.has[column], codes):
                parts, text = templates[code][0], ""
                for literal, fill in parts:
                    text += literal + (next(own[fill]) if fill in own else others[fills[fill]][row][1])
                texts.append(text + templates[code][1])
            check(all(next(rest, None) is None for rest in own.values()), "values of a fill")
            self.columns[column] = name, [(tag, text) for (tag, _), text in zip(values, texts)]

    def chunk(self, raw=False, column=None):
        rows = self.r.varint()
        if column is not None and self.version > 1 and self.r.data[self.r.at] == 6:
            self.r.u8()
            values, codes = self.template(column), None
        else:
            values, codes = self.encoding(rows, raw)
        check(len(values) == rows, "values of a chunk")
        tag = self.r.u8()
        if tag == 0xFF:
            _, tags = self.page()
            tags = [tags[c] for c in codes] if codes is not None else tags
        else:
            tags = [tag] * rows
        return values if raw else list(zip(tags, values))

    def presence(self):
        """For each column, and the overflow column, which rows have it."""
        count = len(self.columns) + 1
        self.has = [[] for _ in range(count)]
        if self.r.u8() == 0:
            shapes = []
            for steps in self.r.list(lambda: self.r.list(self.r.varint)):
                shapes.append([sum(steps[: i + 1]) for i in range(len(steps))])
            for row, shape in enumerate(self.chunk(raw=True)):
                for column in shapes[shape]:
                    self.has[column].append(row)
        else:
            bitmaps = self.r.list(lambda: self.chunk(raw=True))
            for column, bits in enumerate(bitmaps):
                self.has[column] = [r for r in range(self.rows) if bits[r // 8][0] >> r % 8 & 1]

    def records(self):
        fields = [[] for _ in range(self.rows)]
        for (name, values), rows in zip(self.columns, self.has):
            check(len(values) == len(rows), f"rows that have {name}")
            for row, (tag, text) in zip(rows, values):
                fields[row].append([name, tag, text])
        check(len(self.overflow) == len(self.has[-1]), "rows that have rarer fields")
        for row, value in zip(self.has[-1], self.overflow):
            fields[row] += netstrings(value)
        order = list(zip(self.times, self.seqs))
        check(order == sorted(order) and self.rows == len(order), "order of rows")
        check((self.first, self.last) == (self.times[0], self.times[-1]), "times of a block")
        check((self.low, self.high) == (min(self.seqs), max(self.seqs)), "Seqs of a block")
        for row, (time, seq) in enumerate(order):
            yield [seq, time, self.streams[row], sorted(fields[row], key=lambda f: f[0].encode())]


def fixed_text(form, prefix, part):
    if form == 0:
        return ".".join(str(b) for b in part)
    h = part.hex()
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:])) if form == 1 else prefix + h


def netstrings(value):
    data, at, out = value.encode(), 0, []

    def one():
        nonlocal at
        colon = data.index(b":", at)
        end = colon + 1 + int(data[at:colon])
        at, text = end, data[colon + 1 : end].decode()
        return text

    while at < len(data):
        name = one()
        tag, at = data[at] - 48, at + 1
        out.append([name, tag, one()])
    return out


def segment(data):
    header = Reader(data[:256])
    crc_ends(header.data, "segment header")
    check(header.take(8) == b"DuraSeg\x01", "magic of a segment")
    name = header.take(1)[0]
    check(header.take(64)[name:].strip(b"\0") == b"", "the tenant's name")
    header.fixed("Qq")
    check(header.fixed("H") == (0,), "cipher")
    end = Reader(data[-136:])
    check(data[-8:] == b"DuraEnd\x01", "magic of the trailer")
    crc_ends(end.data[:124], "trailer")
    index, index_len, at, length, raw, codec, crc = end.fixed("QQQQQII")
    check(index + index_len == at and at + length + 136 == len(data), "parts of the segment")
    footer = Reader(unpack(data[at : at + length], codec, raw, crc, "footer"))
    place = 256
    for _ in range(footer.varint()):
        offset, size, rows = footer.varint(), footer.varint(), footer.varint()
        times, seqs = (footer.zigzag(), footer.zigzag()), (footer.varint(), footer.varint())
        check(offset == place, "place of a block")
        place += size
        block = Block(data[offset : offset + size])
        check((rows, times, seqs) == (block.rows, (block.first, block.last), (block.low, block.high)), "footer")
        yield from block.records()
    check(place == index, "end of the blocks")


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        for record in segment(file.read()):
            print(json.dumps(record))
