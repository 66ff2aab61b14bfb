package event

import (
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// DeltaSuffix ends the names of fields that hold what the one without it grew by
// in an interval.
const DeltaSuffix = "_delta"

// datapath is the field that events of the datapath begin with.
const datapath = "datapath"

var kinds = map[reflect.Type]*Kind{}

// Declare enters the events of type E in the registry. The fields are E's fields
// with a tag `event:"NAME"`, in order, but for NAME "-"; a tag `means:"..."` says what the field is
// unless another declaration or the common fields of this package do. It panics
// on a declaration that cannot be used, and returns E's kind.
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

// Zero returns an event of kind k whose fields are zero. That of a Lister has no
// values.
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

// Values returns the names and values of e's fields, in order. The value of the
// field datapath is nil: the one who writes the event knows it.
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

// Meanings returns what each field of all events means, by its name, but for
// those that end in _delta: these are what the field without it grew by. The error
// names fields that have no meaning, or several.
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
				continue // a table says what it is in this event
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
