package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"outlive/lab/feature"
)

// addSystem takes what belongs to no program and every program may ask for. What
// differs between machines and would show in the time that a look-up takes is made
// here instead of taken.
func (h *host) addSystem() error {
	h.addIfThere("/etc/services", "/etc/protocols", "/etc/mime.types", "/etc/ssl/openssl.cnf", "/etc/ssl/certs/ca-certificates.crt")
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib64"} {
		// As on the host: mostly links into /usr.
		_, _ = h.add(name)
	}
	h.makeFile("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	h.makeFile("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n")
	for _, name := range []string{"/etc/passwd", "/etc/group"} {
		text, err := h.systemAccounts(name)
		if err != nil {
			return err
		}
		h.makeFile(name, text)
	}
	return nil
}

func (h *host) makeFile(name, text string) { h.tree.file(inside(h.base, name), []byte(text)) }

// systemAccounts are the lines of a list of users or groups that are about programs,
// not people: a server may change to one of them.
func (h *host) systemAccounts(name string) (string, error) {
	const firstPerson, nobody = 1000, 65534
	text := "root:x:0:"
	if path.Base(name) == "passwd" {
		text += "0:root:/root:/bin/sh"
	}
	text += "\n"
	f, err := h.open(name)
	if err != nil {
		return text, nil
	}
	defer f.Close()
	all, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	for line := range strings.Lines(string(all)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) < 4 {
			continue
		}
		if id, err := strconv.Atoi(fields[2]); err == nil && id != 0 && (id < firstPerson || id == nobody) {
			text += strings.Join(fields, ":") + "\n"
		}
	}
	return text, nil
}

// addFirewall takes the programs of package iptables that the lab's NAT runs, in
// the nf_tables variant where there is one, whichever the machine has chosen.
func (h *host) addFirewall() error {
	for _, name := range []string{"iptables-restore", "iptables-save"} {
		file, err := h.findProgram(name, "/")
		if err != nil {
			return &feature.Unsupported{
				Feature: name, Needs: "the iptables package", Remedy: "install it: sudo apt-get install iptables", Err: err,
			}
		}
		modern, err := h.findProgram(strings.Replace(name, "iptables-", "iptables-nft-", 1), "/")
		if err == nil {
			file = modern
		}
		if err := h.addExecutable(name, file, "/", true); err != nil {
			return err
		}
		if modern != "" {
			dir, err := h.add("/usr/sbin")
			if err != nil {
				return fmt.Errorf("taking %s along: %w", name, err)
			}
			h.tree.put(inside(h.base, path.Join(dir, name)), &node{mode: linkMode, link: modern})
		}
	}
	for _, dir := range h.libraryFolders() {
		if err := h.addFolders(whole{}, dir+"/xtables"); err != nil {
			return err
		}
	}
	return h.addNFT()
}

// addNFT takes nft along, where there is one: only IPv6 firewalls, and NATs that iptables
// cannot make, need it, and they say so themselves.
func (h *host) addNFT() error {
	file, err := h.findProgram("nft", "/")
	if err != nil {
		return nil
	}
	return h.addExecutable("nft", file, "/", true)
}

// loaderCache is the /etc/ld.so.cache of the libraries that were found without being
// told where. That of the machine lists every library that it has, and its length
// shows in the time that programs take to start.
func (h *host) loaderCache() []byte {
	const (
		header, entry = 48, 24
		elfX8664      = 0x0303 // FLAG_X8664_LIB64 | FLAG_ELF_LIBC6
		littleEndian  = 2
	)
	names := make([]string, 0, len(h.sonames))
	for name := range h.sonames {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return compareSonames(b, a) })
	le := binary.LittleEndian
	var table, text bytes.Buffer
	at := uint32(header + entry*len(names))
	add := func(s string) uint32 {
		begin := at + uint32(text.Len())
		text.WriteString(s + "\x00")
		return begin
	}
	for _, name := range names {
		var e [entry]byte
		le.PutUint32(e[0:], elfX8664)
		le.PutUint32(e[4:], add(name))
		le.PutUint32(e[8:], add(h.sonames[name]))
		table.Write(e[:])
	}
	head := make([]byte, header)
	copy(head, "glibc-ld.so.cache1.1")
	le.PutUint32(head[20:], uint32(len(names)))
	le.PutUint32(head[24:], uint32(text.Len()))
	head[28] = littleEndian
	return slices.Concat(head, table.Bytes(), text.Bytes())
}

// compareSonames is the order of the loader's bisection: byte by byte, but numbers
// by their value, and a digit after everything else.
func compareSonames(a, b string) int {
	digit := func(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }
	number := func(s string) (n int, rest string) {
		for digit(s) {
			n, s = n*10+int(s[0]-'0'), s[1:]
		}
		return n, s
	}
	for a != "" {
		switch {
		case digit(a) && digit(b):
			var n, m int
			n, a = number(a)
			m, b = number(b)
			if n != m {
				return n - m
			}
			continue
		case digit(a):
			return 1
		case digit(b):
			return -1
		case b == "":
			return 1
		case a[0] != b[0]:
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	if b == "" {
		return 0
	}
	return -1
}
