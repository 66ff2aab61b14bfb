package event

import (
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// DeltaSuffix is the suffix of fields that contain the increase of another field in an
// interval.
const DeltaSuffix = "_delta"

// datapath is the first field of events of the datapath.
const datapath = "datapath"

var kinds = map[reflect.Type]*Kind{}

// Declare adds the events of type E to the registry. The fields are E's fields with a tag
// `event:"NAME"`, in order, except NAME "-". A tag `means:"..."` explains the field, unless
// another declaration or the common fields of this package do. It panics on a declaration that
// cannot be used, and returns E's kind.
//
// Packages call it in the initialisation of a variable:
//
//	var _ = event.Declare[PortRenamed](event.Kind{Name: "port_renamed", ...})
func Declare[E Event](k Kind) *Kind {
	t := reflect.TypeFor[E]()
	if kinds[t] != nil {
		panic(fmt.Sprintf("event: %s is declared twice", t))
	}
	var e E
	if _, ok := any(e).(interface{ ofDatapath() }); ok {
		k.fields, k.index = append(k.fields, Field{Name: datapath}), append(k.index, nil)
	}
	k.scan(t, nil)
	if l, ok := any(e).(Lister); ok {
		k.list = l.List
	}
	k.zero = e
	kinds[t] = &k
	return &k
}

// Zero returns an event of kind k with zero fields. For a Lister it has no values.
func (k *Kind) Zero() Event { return k.zero }

// scan appends the fields of the struct t, which is found at index.
func (k *Kind) scan(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		name, ok := f.Tag.Lookup("event")
		switch {
		case name == "-":
		case ok:
			k.fields, k.index = append(k.fields, Field{Name: name, Meaning: f.Tag.Get("means")}), append(k.index, at)
		case f.Anonymous:
			k.scan(f.Type, at)
		default:
			panic(fmt.Sprintf("event: %s.%s has no tag", t, f.Name))
		}
	}
}

// KindOf returns the kind of e. It panics if e's type is not declared.
func KindOf(e Event) *Kind {
	k := kinds[reflect.TypeOf(e)]
	if k == nil {
		panic(fmt.Sprintf("event: %T is not declared", e))
	}
	return k
}

// Kinds returns all kinds that are declared, in the order of their names.
func Kinds() []*Kind {
	return slices.SortedFunc(maps.Values(kinds), func(a, b *Kind) int { return strings.Compare(a.Name, b.Name) })
}

// Fields returns the fields of the events of kind k, in order.
func (k *Kind) Fields() []Field {
	if k.list == nil {
		return k.fields
	}
	return slices.Concat(k.fields, k.list())
}

// Values returns the names and values of e's fields, in order. The value of the field datapath
// is nil: the writer of the event knows it.
func Values(e Event) iter.Seq2[string, any] {
	k := KindOf(e)
	return func(yield func(string, any) bool) {
		v := reflect.ValueOf(e)
		for i, f := range k.fields {
			var value any
			if k.index[i] != nil {
				value = v.FieldByIndex(k.index[i]).Interface()
			}
			if !yield(f.Name, value) {
				return
			}
		}
		l, ok := e.(Lister)
		if !ok {
			return
		}
		values := l.Values()
		for i, f := range l.List() {
			if !yield(f.Name, values[i]) {
				return
			}
		}
	}
}

// Meanings returns the meaning of each field of all events by name, except those that end in
// _delta, which are the increase of another field. The error names fields with no meaning, or
// several.
func Meanings() (map[string]string, error) {
	all, used := maps.Clone(common), map[string]bool{}
	var wrong []string
	for _, k := range Kinds() {
		for i, f := range k.Fields() {
			if strings.HasSuffix(f.Name, DeltaSuffix) {
				continue
			}
			used[f.Name] = true
			if i >= len(k.fields) && common[f.Name] != "" {
				continue // the table of this event explains it
			}
			if before := all[f.Name]; f.Meaning != "" && before != "" && before != f.Meaning {
				wrong = append(wrong, fmt.Sprintf("%s of %s has a second meaning", f.Name, k.Name))
			}
			if f.Meaning != "" {
				all[f.Name] = f.Meaning
			}
		}
	}
	for name := range used {
		if all[name] == "" {
			wrong = append(wrong, name+" has no meaning")
		}
	}
	for name := range common {
		if !used[name] {
			wrong = append(wrong, name+" is no field of any event")
		}
	}
	if wrong != nil {
		slices.Sort(wrong)
		return nil, fmt.Errorf("fields of events: %s", strings.Join(wrong, "; "))
	}
	return all, nil
}
