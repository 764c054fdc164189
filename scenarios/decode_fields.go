package scenarios

import (
	"reflect"
	"strings"

	"outlive/lab/units"
)

// field is one key of a struct.
type field struct {
	name  string
	index []int
	// optional is a key whose zero value means that it was left out.
	optional bool
}

// fields lists the keys of a struct by its yaml tags, those of inlined structs
// among them, in order.
func fields(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case options == "inline":
			for _, inner := range fields(f.Type) {
				out = append(out, field{inner.name, append([]int{i}, inner.index...), inner.optional})
			}
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			out = append(out, field{name, []int{i}, strings.Contains(options, "omitempty")})
		}
	}
	return out
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range fields(t) {
		names = append(names, f.name)
	}
	return names
}

// decodeFields reads a mapping into one or more structs that share it. A key that
// none of them has is reported, with the one that was perhaps meant.
func (l *loader) decodeFields(n *node, what string, structs ...reflect.Value) {
	if n.kind != mapping {
		l.mistyped(n, structs[0].Type(), what)
		return
	}
	type target struct {
		reflect.Value
		optional bool
	}
	targets := map[string]target{}
	var names []string
	for _, s := range structs {
		for _, f := range fields(s.Type()) {
			targets[f.name] = target{s.FieldByIndex(f.index), f.optional}
			names = append(names, f.name)
		}
	}
	for _, p := range n.pairs {
		t, known := targets[p.key.text]
		if !known {
			l.unknownKey(p.key, what, names)
			continue
		}
		l.decode(p.value, t.Value, p.key.text)
		if t.optional && !p.value.spoilt {
			l.explicitZero(p.value, t.Value, p.key.text)
		}
	}
}

// explicitZero reports a value that is written and means the same as nothing:
// "deadline: 0s" would not be zero but the default.
func (l *loader) explicitZero(n *node, v reflect.Value, what string) {
	if !v.IsZero() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		l.report(n, "", "%s is empty: give it a value or leave it out", what)
	case reflect.Int64, reflect.Float64:
		l.report(n, "", "%s cannot be %s: leave it out for the default", what, n.text)
	}
}

func (l *loader) unknownKey(key *node, what string, names []string) {
	if l.full() {
		names = nil
	}
	switch suggestion := units.Closest(key.text, names); {
	case suggestion != "":
		l.report(key, suggestion, "unknown key %q in %s", clip(key.text), what)
	case len(names) == 0:
		l.report(key, "", "unknown key %q: %s has no keys", clip(key.text), what)
	default:
		l.report(key, "", "unknown key %q in %s: it has %s", clip(key.text), what, units.List(names))
	}
}

// entries is a mapping whose keys are names that the author chose, in the file's order.
type entries[T any] []entry[T]

type entry[T any] struct {
	name  string
	key   *node
	at    *node
	value T
}

func (e *entries[T]) decode(l *loader, n *node, what string) {
	switch {
	case n.empty:
		l.empty(n, reflect.TypeFor[[]T](), what)
		return
	case n.kind != mapping:
		l.report(n, "", "%s must be a mapping of names to what they are, not %s", what, map[kind]string{scalar: "a single value", list: "a list"}[n.kind])
		return
	}
	for _, p := range n.pairs {
		entry := entry[T]{name: p.key.text, key: p.key, at: p.value}
		l.decode(p.value, reflect.ValueOf(&entry.value).Elem(), clip(entry.name))
		*e = append(*e, entry)
	}
}

// MarshalYAML writes the mapping in its order.
func (e entries[T]) MarshalYAML() (any, error) {
	var m yamlMapping
	for _, entry := range e {
		m.parts = append(m.parts, yamlPart{entry.name, entry.value})
	}
	return m, nil
}

// names are the names in order.
func (e entries[T]) names() []string {
	var out []string
	for _, entry := range e {
		out = append(out, entry.name)
	}
	return out
}
