package scenarios

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"outlive/lab/units"
)

// decoder is a type that reads itself from a node, because YAML can say it in
// more ways than one.
type decoder interface {
	// decode reports what is wrong. What names the value in messages.
	decode(l *loader, n *node, what string)
}

// decode reads a node into a value by the type's yaml tags: strictly, and going on
// after a mistake. A value that is wrong is reported, which marks its node, and left as it was.
func (l *loader) decode(n *node, v reflect.Value, what string) {
	if n.spoilt {
		return
	}
	if d, ok := v.Addr().Interface().(decoder); ok {
		d.decode(l, n, what)
		return
	}
	if n.empty {
		l.empty(n, v.Type(), what)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok && v.Kind() != reflect.Pointer {
		l.decodeText(n, u, v.Type(), what)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		value := reflect.New(v.Type().Elem())
		l.decode(n, value.Elem(), what)
		if !n.spoilt {
			v.Set(value)
		}
		return
	case reflect.Struct:
		l.decodeFields(n, what, v)
		return
	case reflect.Slice:
		l.decodeList(n, v, what)
		return
	}
	if n.kind != scalar {
		l.mistyped(n, v.Type(), what)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.text)
	case reflect.Bool:
		l.decodeBool(n, v, what)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		l.decodeInteger(n, v, what)
	case reflect.Float32, reflect.Float64:
		l.decodeNumber(n, v, what)
	default:
		panic(fmt.Sprintf("scenarios: the language has no values of type %s", v.Type()))
	}
}

// empty reports a key without a value.
func (l *loader) empty(n *node, t reflect.Type, what string) {
	if t.Kind() == reflect.Struct && !isText(t) {
		l.report(n, "", "%s is empty: write {} if all its defaults are right, or leave it out", what)
	} else {
		l.report(n, "", "%s is empty: give it a value or leave it out", what)
	}
}

// mistyped reports a value of the wrong kind.
func (l *loader) mistyped(n *node, want reflect.Type, what string) {
	got := map[kind]string{scalar: strconv.Quote(clip(n.text)), list: "a list", mapping: "a mapping"}[n.kind]
	if n.kind == mapping && n.flow && len(n.pairs) == 1 && n.pairs[0].value.empty {
		// [{port}] without quotes is YAML for a mapping; what was meant is the text.
		if want.Kind() == reflect.String {
			n.spoilt = true
			l.add(n.place, n.width(), "", fmt.Sprintf(`{%s} needs quotes here: write "{%[1]s}"`, clip(n.pairs[0].key.text)))
			return
		}
	}
	l.report(n, "", "%s must be %s, not %s", what, describe(want), got)
}

// describe says what a type looks like in a scenario.
func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[units.Duration]():
		return "a duration such as 30s"
	case reflect.TypeFor[units.Share]():
		return "a share such as 20%"
	}
	switch t.Kind() {
	case reflect.Struct:
		return "a mapping with " + units.List(fieldNames(t))
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	}
	return "a single value"
}

// isText says whether values of the type are written as one text.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func (l *loader) decodeText(n *node, u encoding.TextUnmarshaler, t reflect.Type, what string) {
	if n.kind != scalar {
		l.mistyped(n, t, what)
		return
	}
	err := u.UnmarshalText([]byte(n.text))
	if err == nil {
		return
	}
	var bad *units.ParseError
	if errors.As(err, &bad) {
		l.report(n, bad.Suggestion, "%q is not a %s: %s", clip(bad.Text), bad.Kind, bad.Problem)
	} else {
		l.report(n, "", "%s: %v", what, err)
	}
}

func (l *loader) decodeBool(n *node, v reflect.Value, what string) {
	if n.quote == 0 && (n.text == "true" || n.text == "false") {
		v.SetBool(n.text == "true")
		return
	}
	suggestion := ""
	switch strings.ToLower(n.text) {
	case "yes", "on", "y", "true", "1":
		suggestion = "true"
	case "no", "off", "n", "false", "0":
		suggestion = "false"
	}
	l.report(n, suggestion, "%s must be true or false, not %q", what, clip(n.text))
}

func (l *loader) decodeInteger(n *node, v reflect.Value, what string) {
	digits := strings.TrimPrefix(n.text, "-")
	switch {
	case digits == "" || strings.Trim(digits, "0123456789") != "":
		l.report(n, "", "%s must be a whole number, not %q", what, clip(n.text))
		return
	case n.quote != 0:
		l.report(n, "", "%s must be a whole number: leave out the quotes", what)
		return
	case len(digits) > 1 && digits[0] == '0':
		meant := strings.TrimLeft(digits[:len(digits)-1], "0") + digits[len(digits)-1:]
		l.report(n, clip(meant), "%s has a leading zero, which some programs read as octal", what)
		return
	}
	if v.CanUint() {
		if value, err := strconv.ParseUint(n.text, 10, v.Type().Bits()); err == nil {
			v.SetUint(value)
			return
		}
		l.report(n, "", "%s must be from 0 to %d", what, ^uint64(0)>>(64-v.Type().Bits()))
		return
	}
	value, err := strconv.ParseInt(n.text, 10, v.Type().Bits())
	if err != nil {
		l.report(n, "", "%s is too large a number", what)
		return
	}
	v.SetInt(value)
}

func (l *loader) decodeNumber(n *node, v reflect.Value, what string) {
	digits := strings.TrimPrefix(n.text, "-")
	// ParseFloat alone would let through hexadecimal, underscores and "inf".
	value, err := strconv.ParseFloat(n.text, v.Type().Bits())
	switch {
	case err != nil || strings.Trim(digits, "0123456789.") != "" || digits[0] == '.' || digits[len(digits)-1] == '.':
		l.report(n, "", "%s must be a number such as 2 or 1.5, not %q", what, clip(n.text))
		return
	case n.quote != 0:
		l.report(n, "", "%s must be a number: leave out the quotes", what)
		return
	case len(digits) > 1 && digits[0] == '0' && digits[1] != '.':
		l.report(n, strings.TrimLeft(digits, "0"), "%s has a leading zero, which some programs read as octal", what)
		return
	}
	v.SetFloat(value)
}

func (l *loader) decodeList(n *node, v reflect.Value, what string) {
	if n.kind == scalar && n.quote != '|' {
		as := "begin it with \"- \" on a line of its own"
		if strings.Trim(n.text, "abcdefghijklmnopqrstuvwxyz0123456789-_./") == "" {
			as = "write [" + n.text + "]"
		}
		l.report(n, "", "%s must be a list: %s", what, as)
		return
	}
	if n.kind != list {
		l.mistyped(n, v.Type(), what)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		l.decode(item, out.Index(i), fmt.Sprintf("entry %d of %s", i+1, what))
	}
	v.Set(out)
}

// clip shortens what is quoted in a message.
func clip(s string) string { return clipTo(s, 60) }

func clipTo(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
