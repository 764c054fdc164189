package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// The on-disk format is that of Linux 5.4 and later, without compression and with
// every file's contents in whole blocks: fs/erofs/erofs_fs.h. Writing it needs no
// folder to stage the files in, no tool, and one copy of each byte.
const (
	erofsBlock      = 4096
	erofsMagic      = 0xe0f5e1e2
	erofsSuper      = 1024 // offset of the superblock
	erofsSlot       = 32   // inodes are numbered by their offset in these units
	erofsInode      = 64   // size of an "extended" inode
	erofsDirent     = 12
	erofsFirstInode = erofsSuper + 128
)

// Types of files in folders.
const (
	erofsRegular = 1
	erofsFolder  = 2
	erofsDevice  = 3
	erofsLink    = 7
)

// errTooBig says that an image does not fit where it is to go.
var errTooBig = errors.New("the image is too big")

// erofsNode is a node on its way into an image.
type erofsNode struct {
	*node
	offset int64 // of its inode
	block  int64 // its first block of contents
	size   int64
	links  uint32
	body   []byte // of a folder or link
}

func (n *erofsNode) id() uint64 { return uint64(n.offset / erofsSlot) }

// writeErofs writes the tree as an erofs image of at most limit bytes to the
// beginning of a file, whose other bytes must be zero. It does not change the size
// of the file, which must be at least the limit.
func writeErofs(to *os.File, t tree, limit int64) error {
	if err := t.check(); err != nil {
		return err
	}
	names := t.names()
	nodes := make(map[string]*erofsNode, len(names))
	at := int64(erofsFirstInode)
	for _, name := range names {
		nodes[name] = &erofsNode{node: t[name], offset: at, size: t[name].size, links: 1}
		at += erofsInode
	}
	next := blocks(at)
	entries := t.entries()
	for _, name := range names {
		n := nodes[name]
		switch n.mode.Type() {
		case fs.ModeDir:
			n.body = erofsFolderBody(name, entries[name], nodes)
			n.size = int64(len(n.body))
			n.links = 2
			for _, entry := range entries[name] {
				if nodes[path.Join(name, entry)].mode.IsDir() {
					n.links++
				}
			}
		case fs.ModeSymlink:
			n.body = []byte(n.link)
			n.size = int64(len(n.body))
		}
		n.block = next
		next += blocks(n.size)
	}
	if next*erofsBlock > limit {
		return fmt.Errorf("%w: it needs %d MiB of the %d MiB that there are", errTooBig, next*erofsBlock>>20, limit>>20)
	}

	head := make([]byte, blocks(at)*erofsBlock)
	erofsSuperblock(head[erofsSuper:], nodes["."].id(), len(names), next)
	for i, name := range names {
		nodes[name].encode(head[nodes[name].offset:], i+1)
	}
	if _, err := to.WriteAt(head, 0); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for _, name := range names {
		if err := nodes[name].writeBody(to, buf); err != nil {
			return err
		}
	}
	return nil
}

func blocks(size int64) int64 { return (size + erofsBlock - 1) / erofsBlock }

func erofsSuperblock(b []byte, root uint64, inodes int, blocks int64) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], erofsMagic)
	b[12] = 12 // log2 of the block size
	le.PutUint16(b[14:], uint16(root))
	le.PutUint64(b[16:], uint64(inodes))
	le.PutUint32(b[36:], uint32(blocks))
	copy(b[64:80], "outlive run")
}

func (n *erofsNode) encode(b []byte, number int) {
	le := binary.LittleEndian
	le.PutUint16(b[0:], 1) // extended, contents in whole blocks
	le.PutUint16(b[4:], uint16(unixMode(n.mode)))
	le.PutUint64(b[8:], uint64(n.size))
	le.PutUint32(b[16:], uint32(n.block))
	if n.mode&fs.ModeDevice != 0 {
		// The layout of the kernel's new_encode_dev.
		le.PutUint32(b[16:], n.minor&0xff|n.major<<8|n.minor&^0xff<<12)
	}
	le.PutUint32(b[20:], uint32(number))
	le.PutUint64(b[32:], uint64(n.modified))
	le.PutUint32(b[44:], n.links)
}

func (n *erofsNode) writeBody(to io.WriterAt, buf []byte) error {
	at := n.block * erofsBlock
	if n.body != nil || n.from == "" {
		body := n.body
		if body == nil {
			body = n.data
		}
		_, err := to.WriteAt(body, at)
		return err
	}
	r, err := n.open()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		got, err := r.Read(buf)
		if _, e := to.WriteAt(buf[:got], at); e != nil {
			return e
		}
		at += int64(got)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// erofsFolderBody lists a folder: in each block first the entries, then their
// names; sorted by name over all blocks, as the kernel searches by bisection.
func erofsFolderBody(name string, entries []string, nodes map[string]*erofsNode) []byte {
	type entry struct {
		name string
		to   *erofsNode
	}
	list := make([]entry, 0, len(entries)+2)
	self := []entry{{".", nodes[name]}, {"..", nodes[path.Dir(name)]}}
	for _, e := range entries {
		for len(self) > 0 && self[0].name < e {
			list, self = append(list, self[0]), self[1:]
		}
		list = append(list, entry{e, nodes[path.Join(name, e)]})
	}
	list = append(list, self...)

	var body []byte
	for len(list) > 0 {
		fit, size := 0, 0
		for fit < len(list) && size+erofsDirent+len(list[fit].name) <= erofsBlock {
			size += erofsDirent + len(list[fit].name)
			fit++
		}
		block := make([]byte, size, erofsBlock)
		nameAt := fit * erofsDirent
		for i, e := range list[:fit] {
			b := block[i*erofsDirent:]
			binary.LittleEndian.PutUint64(b, e.to.id())
			binary.LittleEndian.PutUint16(b[8:], uint16(nameAt))
			b[10] = erofsType(e.to.mode)
			nameAt += copy(block[nameAt:], e.name)
		}
		if list = list[fit:]; len(list) > 0 {
			block = block[:erofsBlock]
		}
		body = append(body, block...)
	}
	return body
}

func erofsType(mode fs.FileMode) byte {
	switch mode.Type() {
	case fs.ModeDir:
		return erofsFolder
	case fs.ModeSymlink:
		return erofsLink
	case fs.ModeDevice | fs.ModeCharDevice:
		return erofsDevice
	}
	return erofsRegular
}
