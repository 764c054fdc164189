package scenarios

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// set applies one "path=value" to the tree. Mistakes are reported with their
// place in the argument. The tree may be nil, then only the argument is checked.
func (l *loader) set(root *node, arg string) {
	keys, value, ok := strings.Cut(arg, "=")
	t := newText("--set "+clip(keys), "the value", arg)
	whole := func(said string) {
		l.add(t.place(1, 1), utf8.RuneCountInString(keys), "", said)
	}
	if !ok {
		whole("a change is written path=value, for example devices.phone.heartbeat.interval=8s")
		return
	}
	path := setPath(t, keys)
	for _, key := range path {
		if key.text == "" || !utf8.ValidString(key.text) {
			whole("the path has an empty key; it is written like devices.phone.heartbeat.interval")
			return
		}
	}
	if strings.TrimSpace(value) == "" {
		whole("there is no value after =")
		return
	}
	last := path[len(path)-1]
	v := l.parse(t, []byte(value), utf8.RuneCountInString(keys)+2)
	if v == nil || root == nil {
		return
	}
	v.label = last
	for _, key := range path[:len(path)-1] {
		if root = l.step(root, key); root == nil {
			return
		}
	}
	l.put(root, last, v)
}

// setPath makes a node of each key of a path, with its place in the argument.
func setPath(t *text, keys string) []*node {
	var path []*node
	column := 1
	for _, key := range strings.Split(keys, ".") {
		path = append(path, &node{place: t.place(1, column), kind: scalar, text: key})
		column += utf8.RuneCountInString(key) + 1
	}
	return path
}

// step goes down one key. A mapping that is not there is made.
func (l *loader) step(n, key *node) *node {
	if i, ok := l.index(n, key); ok {
		return n.items[i]
	}
	if n.kind == list {
		return nil
	}
	if next := n.get(key.text); next != nil && (next.kind != scalar || next.empty) {
		if next.empty {
			next.empty, next.kind = false, mapping
		}
		return next
	} else if next != nil {
		l.report(key, "", "%s is the single value %q and has no keys: set it as a whole, for example %s={…}", key.text, clip(next.text), key.text)
		return nil
	}
	next := &node{place: key.place, kind: mapping, label: key}
	n.pairs = append(n.pairs, pair{key, next})
	return next
}

// put sets the value at a key, replacing what was there.
func (l *loader) put(n, key, value *node) {
	if i, ok := l.index(n, key); ok {
		n.items[i] = value
		return
	}
	switch n.kind {
	case list:
		return
	case scalar:
		l.report(key, "", "%q has no keys", clip(n.text))
		return
	}
	for i := range n.pairs {
		if n.pairs[i].key.text == key.text {
			n.pairs[i] = pair{key, value}
			return
		}
	}
	n.pairs = append(n.pairs, pair{key, value})
}

// index is the number of a list's entry that a key means. What is wrong with it is reported.
func (l *loader) index(n, key *node) (int, bool) {
	if n.kind != list {
		return 0, false
	}
	i, err := strconv.Atoi(key.text)
	if err == nil && i >= 0 && i < len(n.items) && strconv.Itoa(i) == key.text {
		return i, true
	}
	there := fmt.Sprintf("its entries are numbered 0 to %d", len(n.items)-1)
	switch len(n.items) {
	case 0:
		there = "it has no entries"
	case 1:
		there = "its only entry is number 0"
	}
	l.report(key, "", "%q is not an entry of the list: %s", clip(key.text), there)
	return 0, false
}
