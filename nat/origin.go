package nat

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Origin says where a figure of a profile is from, and how sure it is.
type Origin struct {
	// Fields are what it is about, as a scenario writes them: "timeouts.udp", or
	// "late" for everything under it.
	Fields []string
	// Sure is how sure it is.
	Sure Sureness
	// Source is where it is from, in a sentence, or why it was chosen.
	Source string
	// Says is what the source says where that is a bound or a range, out of which
	// the profile's value was picked by us: "> 28 min".
	Says string
}

// Sureness is how sure a figure is.
type Sureness string

// How sure a figure can be, the surest first.
const (
	// Measured: somebody measured it, and we have read the measurement or made it.
	Measured Sureness = "measured"
	// Documented: the maker, the operator or the standard says so, and we have read it.
	Documented Sureness = "documented"
	// Reported: users say so, or somebody who cites a source that we have not read.
	Reported Sureness = "reported"
	// Unverified: generally held to be so, and we have found no source that says it.
	Unverified Sureness = "unverified"
	// Chosen: nobody knows; it is our choice.
	Chosen Sureness = "our choice"
)

func measured(source string, fields ...string) Origin { return Origin{fields, Measured, source, ""} }
func documented(source string, fields ...string) Origin {
	return Origin{fields, Documented, source, ""}
}
func reported(source string, fields ...string) Origin { return Origin{fields, Reported, source, ""} }
func unverified(source string, fields ...string) Origin {
	return Origin{fields, Unverified, source, ""}
}
func chosen(source string, fields ...string) Origin { return Origin{fields, Chosen, source, ""} }

// says adds what the source says, out of which the value was picked.
func (o Origin) says(what string) Origin {
	o.Says = what
	return o
}

// Origin gives the origin of a field: the one that names it most exactly. A field that
// none names has the default, which is our choice.
func (n Named) Origin(field string) Origin {
	best, length := Origin{}, -1
	for _, o := range n.Origins {
		for _, name := range o.Fields {
			if under(field, name) && len(name) > length {
				best, length = o, len(name)
			}
		}
	}
	switch {
	case length >= 0:
		return best
	case under(field, "timeouts"):
		return chosen("Nothing is known of it; it is the Linux kernel's default.", field)
	}
	return chosen("Nothing is known of it; it is the lab's default.", field)
}

// under says whether a field is the named one or a part of it.
func under(field, name string) bool {
	return field == name || strings.HasPrefix(field, name+".")
}

// Field is one value of a profile.
type Field struct {
	// Name is what a scenario calls it: "timeouts.tcp_established".
	Name string
	// Value is how a scenario writes it, or empty for what is not set and means nothing.
	Value string
}

// Fields lists what the profile says, in the order in which it is documented. Of a
// complete profile that is everything that there is to say.
func (p Profile) Fields() []Field {
	return fieldsOf("", reflect.ValueOf(p))
}

func fieldsOf(path string, v reflect.Value) []Field {
	var out []Field
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		name = strings.TrimPrefix(path+"."+name, ".")
		f := v.Field(i)
		if _, isText := f.Interface().(encoding.TextMarshaler); f.Kind() == reflect.Struct && !isText {
			out = append(out, fieldsOf(name, f)...)
			continue
		}
		out = append(out, Field{name, fieldText(f)})
	}
	return out
}

// fieldText is how a scenario writes a value.
func fieldText(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	} else if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	return fmt.Sprint(v.Interface())
}
