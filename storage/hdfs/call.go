package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"time"
	"unsafe"

	"github.com/colinmarc/hdfs/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The library has no call that renames without overwriting, nor one that lists
// from a name on; the namenode has both. Its connection is reached through the
// client's unexported field, so that Kerberos, high availability and the
// connection itself stay the library's; the messages are in Go's registry of
// protocol buffers under their own names. go.mod pins the library, and TestCalls
// fails where another version has other fields.

// namenode is what the library's connection can do.
type namenode interface {
	Execute(method string, req, resp proto.Message) error
}

func (s *session) namenode() (namenode, error) {
	field := reflect.ValueOf(s.Client).Elem().FieldByName("namenode")
	if !field.IsValid() {
		return nil, errors.New("this version of the HDFS client has no namenode field")
	}
	//nolint:gosec // the only way to a field that is not exported
	connection, ok := reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Interface().(namenode)
	if !ok {
		return nil, errors.New("this version of the HDFS client calls its namenode otherwise")
	}
	return connection, nil
}

// message is one of HDFS's client protocol, with fields by name.
type message struct{ protoreflect.Message }

func newMessage(name protoreflect.FullName) (message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName("hadoop.hdfs." + name)
	if err != nil {
		return message{}, fmt.Errorf("message %s of HDFS: %w", name, err)
	}
	return message{kind.New()}, nil
}

func (m message) field(name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}

func (m message) set(name protoreflect.Name, value protoreflect.Value) message {
	m.Set(m.field(name), value)
	return m
}

func (m message) get(name protoreflect.Name) protoreflect.Value { return m.Get(m.field(name)) }

// in is a message within it.
func (m message) in(name protoreflect.Name) message { return message{m.get(name).Message()} }

// call sends a request and returns the response.
func (s *session) call(method string, request, response protoreflect.FullName, fill func(message)) (message, error) {
	connection, err := s.namenode()
	if err != nil {
		return message{}, err
	}
	req, err := newMessage(request)
	if err != nil {
		return message{}, err
	}
	resp, err := newMessage(response)
	if err != nil {
		return message{}, err
	}
	fill(req)
	return resp, connection.Execute(method, req.Interface(), resp.Interface())
}

// rename gives a file its name, at once, unless the name is taken: fs.ErrExist.
func (s *session) rename(from, to string) error {
	_, err := s.call("rename2", "Rename2RequestProto", "Rename2ResponseProto", func(m message) {
		m.set("src", protoreflect.ValueOfString(from)).set("dst", protoreflect.ValueOfString(to)).set("overwriteDest", protoreflect.ValueOfBool(false))
	})
	return err
}

// endBlock ends the writing of a file's last block and lets go of the datanode; nil
// where nothing was written. The library's Close has the namenode begin a new
// generation of the block then, which only a pipeline that is mended needs.
func endBlock(out *hdfs.FileWriter) (protoreflect.Message, error) {
	field := reflect.ValueOf(out).Elem().FieldByName("blockWriter")
	if field.Kind() != reflect.Pointer {
		return nil, errors.New("this version of the HDFS client has no blockWriter field")
	}
	if field.IsNil() {
		return nil, nil
	}
	//nolint:gosec // the only way to a field that is not exported
	field = reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
	writer, ok := field.Interface().(io.Closer)
	block, at := field.Elem().FieldByName("Block"), field.Elem().FieldByName("Offset")
	if !ok || !block.IsValid() || !at.CanInt() {
		return nil, errors.New("this version of the HDFS client writes its blocks otherwise")
	}
	located, ok := block.Interface().(proto.Message)
	if !ok {
		return nil, errors.New("this version of the HDFS client knows its blocks otherwise")
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	b := message{located.ProtoReflect()}.in("b")
	return b.set("numBytes", protoreflect.ValueOfUint64(uint64(at.Int()))).Message, nil
}

// complete tells the namenode that a file has its last block; false where no datanode
// has reported that one yet.
func (s *session) complete(name string, id uint64, last protoreflect.Message) (bool, error) {
	connection, err := s.namenode()
	if err != nil {
		return false, err
	}
	client := reflect.Indirect(reflect.ValueOf(connection)).FieldByName("ClientName")
	if client.Kind() != reflect.String {
		return false, errors.New("this version of the HDFS client has no name for itself")
	}
	resp, err := s.call("complete", "CompleteRequestProto", "CompleteResponseProto", func(m message) {
		m.set("src", protoreflect.ValueOfString(name)).set("clientName", protoreflect.ValueOfString(client.String())).set("fileId", protoreflect.ValueOfUint64(id))
		if last != nil {
			m.set("last", protoreflect.ValueOfMessage(last))
		}
	})
	if err != nil {
		return false, err
	}
	return resp.get("result").Bool(), nil
}

// mkdirs makes a folder and those above it; one that is there stays as it is.
func (s *session) mkdirs(name string, mode fs.FileMode) error {
	_, err := s.call("mkdirs", "MkdirsRequestProto", "MkdirsResponseProto", func(m message) {
		m.set("src", protoreflect.ValueOfString(name)).set("createParent", protoreflect.ValueOfBool(true))
		masked := message{m.Mutable(m.field("masked")).Message()}
		masked.set("perm", protoreflect.ValueOfUint32(uint32(mode.Perm())))
	})
	return err
}

// remove removes a file; one that is not there is none. The library's own asks
// whether it is there first.
func (s *session) remove(name string) error {
	_, err := s.call("delete", "DeleteRequestProto", "DeleteResponseProto", func(m message) {
		m.set("src", protoreflect.ValueOfString(name)).set("recursive", protoreflect.ValueOfBool(false))
	})
	return err
}

// idOf is id for a file that is written: the answer to its creation had it, and
// the library keeps that in a field that is not exported.
func idOf(out *hdfs.FileWriter) (uint64, error) {
	field := reflect.ValueOf(out).Elem().FieldByName("fileId")
	if field.Kind() != reflect.Pointer || field.IsNil() || field.Elem().Kind() != reflect.Uint64 {
		return 0, errors.New("the namenode, or this version of its client, does not say which file it makes")
	}
	return field.Elem().Uint(), nil
}

// id is the number that a namenode gave to a file, and to no other one.
func id(info fs.FileInfo) (uint64, error) {
	status, ok := info.Sys().(*hdfs.FileStatus)
	if !ok || status.FileId == nil {
		return 0, errors.New("the namenode does not say which file it is")
	}
	return status.GetFileId(), nil
}

// entry is one of a folder.
type entry struct {
	name     string
	folder   bool
	bytes    int64
	modified time.Time
}

func (e entry) Name() string       { return e.name }
func (e entry) IsDir() bool        { return e.folder }
func (e entry) Size() int64        { return e.bytes }
func (e entry) ModTime() time.Time { return e.modified }

// page are the entries of a folder whose names come after one, and whether there
// are more of them; none where there is no folder.
func (c *cluster) page(ctx context.Context, folder, after string) (out []entry, more bool, err error) {
	err = c.run(ctx, func(s *session) error {
		var list []*hdfs.FileStatus
		list, more, err = s.listing(folder, after, false)
		out = nil
		for _, status := range list {
			out = append(out, entry{
				name:     string(status.GetPath()),
				folder:   status.GetFileType().Number() == 1, // IS_DIR
				bytes:    int64(status.GetLength()),
				modified: time.UnixMilli(int64(status.GetModificationTime())),
			})
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	return out, more, err
}

// listing asks for a page of a folder, with the blocks of its files or without.
func (s *session) listing(folder, after string, blocks bool) (out []*hdfs.FileStatus, more bool, err error) {
	resp, err := s.call("getListing", "GetListingRequestProto", "GetListingResponseProto", func(m message) {
		m.set("src", protoreflect.ValueOfString(folder)).set("startAfter", protoreflect.ValueOfBytes([]byte(after))).set("needLocation", protoreflect.ValueOfBool(blocks))
	})
	if err != nil || !resp.Has(resp.field("dirList")) {
		return nil, false, err
	}
	listing := message{resp.get("dirList").Message()}
	list := listing.get("partialListing").List()
	for i := range list.Len() {
		status, ok := list.Get(i).Message().Interface().(*hdfs.FileStatus)
		if !ok {
			return nil, false, errors.New("the namenode's listing is of another kind")
		}
		if len(status.GetPath()) > 0 { // else the folder is a file, which lists itself
			out = append(out, status)
		}
	}
	return out, listing.get("remainingEntries").Uint() > 0, nil
}
