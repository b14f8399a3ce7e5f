package hdfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The library asks the namenode twice for a file that is opened, connects to a
// datanode for each place in a file that is read, asks it for all of the block from there on and hangs
// up in the middle. What reads here asks once, for just the bytes that are wanted, and
// leaves the connection fit for the next read (Hadoop's data transfer protocol,
// version 28). Where the data are to be protected, by SASL, the library reads.

// located is a file's length and where its blocks are.
type located struct {
	bytes  int64
	blocks []block
	listed bool // before it was opened: it may be out of date
}

// block is one of a file.
type block struct {
	off, bytes int64 // in the file
	id, token  protoreflect.Message
	at         []string // its datanodes, host:port, the nearest first
}

// locate asks the namenode for a file and its blocks.
func (s *session) locate(name string) (located, error) {
	resp, err := s.call("getBlockLocations", "GetBlockLocationsRequestProto", "GetBlockLocationsResponseProto", func(m message) {
		m.set("src", protoreflect.ValueOfString(name)).set("offset", protoreflect.ValueOfUint64(0)).set("length", protoreflect.ValueOfUint64(math.MaxInt64))
	})
	if err != nil {
		return located{}, err
	}
	all := resp.in("locations")
	if all.Has(all.field("fileEncryptionInfo")) || all.Has(all.field("ecPolicy")) {
		return located{}, errors.New("it is encrypted or erasure-coded, which cannot be read here; hint: choose a folder without such a policy")
	}
	out := s.blocksOf(all)
	if len(out.blocks) > 0 && out.blocks[0].hasToken() {
		s.cluster.tokens.Store(true)
	}
	return out, nil
}

// blocksOf reads a file's blocks out of the namenode's answer.
func (s *session) blocksOf(all message) located {
	out := located{bytes: int64(all.get("fileLength").Uint())}
	list := all.get("blocks").List()
	for i := range list.Len() {
		m := message{list.Get(i).Message()}
		b := block{off: int64(m.get("offset").Uint()), bytes: int64(m.in("b").get("numBytes").Uint()), id: m.in("b").Message, token: m.in("blockToken").Message}
		nodes := m.get("locs").List()
		for n := range nodes.Len() {
			b.at = append(b.at, s.address(message{nodes.Get(n).Message()}.in("id")))
		}
		out.blocks = append(out.blocks, b)
	}
	return out
}

func (b block) hasToken() bool { return len(message{b.token}.get("identifier").Bytes()) > 0 }

// has tells whether a file still has the bytes that another answer was of: its blocks
// are the same ones. The file may have become longer.
func (l located) has(before located) bool {
	if len(l.blocks) < len(before.blocks) {
		return false
	}
	for i, was := range before.blocks {
		b, now, then := l.blocks[i], message{l.blocks[i].id}, message{was.id}
		if b.off != was.off || b.bytes < was.bytes || now.get("blockId").Uint() != then.get("blockId").Uint() || now.get("poolId").String() != then.get("poolId").String() {
			return false
		}
	}
	return true
}

func (s *session) address(node message) string {
	host := node.get("ipAddr").String()
	if s.byHostname {
		host = node.get("hostName").String()
	}
	return net.JoinHostPort(host, strconv.FormatUint(node.get("xferPort").Uint(), 10))
}

// Bounds of what a datanode may say.
const (
	maxPacket = 16 << 20 // as Hadoop has it
	maxHeader = 1 << 10
	maxAnswer = 64 << 10
)

const checksumOK = 6 // of the protocol's Status

// read fills p with a block's bytes from off on, whose checksums are looked at. After an
// error, or the end of ctx, the connection is of no use any more.
func (c *peer) read(ctx context.Context, b block, off int64, p []byte) error {
	defer context.AfterFunc(ctx, c.interrupt)()
	if err := c.ask(b, off, len(p)); err != nil {
		return err
	}
	sums, at, err := c.answer()
	if err != nil {
		return err
	}
	if at > off {
		return fmt.Errorf("the datanode begins at byte %d, %d was asked for", at, off)
	}
	for end := off + int64(len(p)); ; {
		h, err := c.packet(sums)
		if err != nil {
			return err
		}
		switch {
		case h.bytes == 0 && h.last && at >= end:
			return c.thank()
		case h.bytes == 0 || h.off != at || at >= end:
			return fmt.Errorf("the datanode's packet of %d bytes at %d is not the one that comes at %d of %d", h.bytes, h.off, at, end)
		}
		next := at + int64(h.bytes)
		if at >= off && next <= end { // straight to where it belongs
			if err := c.chunks(sums, p[at-off:next-off]); err != nil {
				return err
			}
		} else { // at both ends, what is sent begins and ends with a chunk of a checksum
			if cap(c.edge) < h.bytes {
				c.edge = make([]byte, h.bytes)
			}
			edge := c.edge[:h.bytes]
			if err := c.chunks(sums, edge); err != nil {
				return err
			}
			from := max(off, at)
			if from < next {
				copy(p[from-off:], edge[from-at:])
			}
		}
		at = next
	}
}

// ask asks for bytes of a block.
func (c *peer) ask(b block, off int64, n int) error {
	op, err := newMessage("OpReadBlockProto")
	if err != nil {
		return err
	}
	header := message{op.Mutable(op.field("header")).Message()}
	base := message{header.Mutable(header.field("baseHeader")).Message()}
	base.set("block", protoreflect.ValueOfMessage(b.id)).set("token", protoreflect.ValueOfMessage(b.token))
	header.set("clientName", protoreflect.ValueOfString("lake"))
	op.set("offset", protoreflect.ValueOfUint64(uint64(off))).set("len", protoreflect.ValueOfUint64(uint64(n)))
	return c.send([]byte{0, 28, 0x51}, op) // version and READ_BLOCK
}

// send sends a message after its length.
func (c *peer) send(head []byte, m message) error {
	data := m.Interface()
	out, err := proto.MarshalOptions{}.MarshalAppend(binary.AppendUvarint(head, uint64(proto.Size(data))), data)
	if err != nil {
		return err
	}
	_, err = c.conn.Write(out)
	return err
}

// checksums of a block's chunks.
type checksums struct {
	table *crc32.Table // nil: there are none
	chunk int          // bytes of each
}

// answer is what the datanode says before the bytes: their checksums, and where in the block they begin.
func (c *peer) answer() (sums checksums, at int64, err error) {
	length, err := binary.ReadUvarint(c.in)
	if err != nil {
		return sums, 0, noEOF(err)
	}
	if length > maxAnswer {
		return sums, 0, fmt.Errorf("the datanode answers with %d bytes", length)
	}
	c.began = true
	m, err := c.message("BlockOpResponseProto", int(length))
	if err != nil {
		return sums, 0, err
	}
	if status := m.get("status").Enum(); status != 0 {
		return sums, 0, fmt.Errorf("the datanode refuses: %s %s", m.field("status").Enum().Values().ByNumber(status).Name(), firstLine(m.get("message").String()))
	}
	info := m.in("readOpChecksumInfo")
	sums.chunk = int(info.in("checksum").get("bytesPerChecksum").Uint())
	switch kind := info.in("checksum").get("type").Enum(); kind {
	case 0:
	case 1:
		sums.table = crc32.IEEETable
	case 2:
		sums.table = castagnoli
	default:
		return sums, 0, fmt.Errorf("the datanode has checksums of a kind that is not known: %d", kind)
	}
	if sums.chunk <= 0 || sums.chunk > maxPacket {
		return sums, 0, fmt.Errorf("the datanode has a checksum each %d bytes", sums.chunk)
	}
	return sums, int64(info.get("chunkOffset").Uint()), nil
}

// castagnoli is the polynomial of CRC32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *peer) message(name protoreflect.FullName, length int) (message, error) {
	if cap(c.text) < length {
		c.text = make([]byte, length)
	}
	if _, err := io.ReadFull(c.in, c.text[:length]); err != nil {
		return message{}, noEOF(err)
	}
	m, err := newMessage(name)
	if err != nil {
		return message{}, err
	}
	return m, proto.Unmarshal(c.text[:length], m.Interface())
}

// packet is what comes before some of a block's bytes.
type packet struct {
	off   int64 // in the block
	bytes int
	last  bool
}

// packet reads the header of a packet, and its checksums.
func (c *peer) packet(sums checksums) (packet, error) {
	var lengths [6]byte
	if _, err := io.ReadFull(c.in, lengths[:]); err != nil {
		return packet{}, noEOF(err)
	}
	whole, header := int64(binary.BigEndian.Uint32(lengths[:])), int(binary.BigEndian.Uint16(lengths[4:]))
	if whole > maxPacket || header > maxHeader {
		return packet{}, fmt.Errorf("the datanode sends a packet of %d bytes with a header of %d", whole, header)
	}
	m, err := c.message("PacketHeaderProto", header)
	if err != nil {
		return packet{}, err
	}
	h := packet{off: m.get("offsetInBlock").Int(), bytes: int(m.get("dataLen").Int()), last: m.get("lastPacketInBlock").Bool()}
	n := 0
	if sums.table != nil && h.bytes > 0 {
		n = 4 * ((h.bytes + sums.chunk - 1) / sums.chunk)
	}
	if h.bytes < 0 || int64(4+n+h.bytes) != whole { // the four bytes are those of the length itself
		return packet{}, fmt.Errorf("the datanode sends a packet of %d bytes that has %d of data", whole, h.bytes)
	}
	if cap(c.sums) < n {
		c.sums = make([]byte, n)
	}
	c.sums = c.sums[:n]
	_, err = io.ReadFull(c.in, c.sums)
	return h, noEOF(err)
}

// chunks reads a packet's data and compares them with its checksums.
func (c *peer) chunks(sums checksums, p []byte) error {
	if _, err := io.ReadFull(c.in, p); err != nil {
		return noEOF(err)
	}
	for at := 0; sums.table != nil && at < len(p); at += sums.chunk {
		want := binary.BigEndian.Uint32(c.sums[4*(at/sums.chunk):])
		if crc32.Checksum(p[at:min(at+sums.chunk, len(p))], sums.table) != want {
			return errChecksum
		}
	}
	return nil
}

var errChecksum = errors.New("the datanode's bytes are not those of their checksum")

// thank tells the datanode that all came well: it waits for the next read then.
func (c *peer) thank() error {
	m, err := newMessage("ClientReadStatusProto")
	if err != nil {
		return err
	}
	return c.send(nil, m.set("status", protoreflect.ValueOfEnum(checksumOK)))
}

// noEOF makes an end of the connection one that may pass, and that is not the end of a file.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the datanode hung up: %w", io.ErrUnexpectedEOF)
	}
	return err
}
