package config

import (
	"fmt"
	"reflect"
	"strings"

	"dpifd/internal/forward"
	"dpifd/internal/odp"
)

// fieldByKey returns the field of the struct type t that has the key.
func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// scalarParser is a type with its own syntax.
type scalarParser interface {
	parseScalar(text string) error
}

// foreign are the types of other packages whose syntax is implemented here.
var foreign = map[reflect.Type]func(any) scalarParser{
	reflect.TypeFor[odp.MAC]():           func(v any) scalarParser { return (*mac)(v.(*odp.MAC)) },
	reflect.TypeFor[forward.VLANRange](): func(v any) scalarParser { return (*vlanRange)(v.(*forward.VLANRange)) },
}

// parserOf returns the parser for v, whose type isScalar.
func parserOf(v reflect.Value) scalarParser {
	if f := foreign[v.Type()]; f != nil {
		return f(v.Addr().Interface())
	}
	return v.Addr().Interface().(scalarParser)
}

// isScalar reports whether values of the type are written as one word, even if they are
// structures.
func isScalar(t reflect.Type) bool {
	return foreign[t] != nil || reflect.PointerTo(t).Implements(reflect.TypeFor[scalarParser]())
}

// isMapping reports whether values of the type are written as keys and values.
func isMapping(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isScalar(t) }

// walkKeys calls fn with the path and field of each key below the struct type t, parents first.
// The path of a list entry ends in [].
func walkKeys(t reflect.Type, prefix string, fn func(path string, f reflect.StructField)) {
	for f := range t.Fields() {
		path := strings.TrimPrefix(prefix+"."+f.Tag.Get("yaml"), ".")
		fn(path, f)
		switch {
		case isMapping(f.Type):
			walkKeys(f.Type, path, fn)
		case f.Type.Kind() == reflect.Slice && isMapping(f.Type.Elem()):
			walkKeys(f.Type.Elem(), path+"[]", fn)
		}
	}
}

// suggest returns what to add to the message about a key that the struct type
// t, at path, does not have.
func suggest(t reflect.Type, path, key string) string {
	best, bestDistance := "", max(2, len(key)/3)+1
	var known []string
	for f := range t.Fields() {
		k := f.Tag.Get("yaml")
		known = append(known, k)
		if d := distance(key, k); d < bestDistance && d < len(k) {
			best, bestDistance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", strings.TrimPrefix(path+"."+best, "."))
	}
	elsewhere := ""
	walkKeys(reflect.TypeFor[Config](), "", func(p string, f reflect.StructField) {
		if f.Tag.Get("yaml") == key && elsewhere == "" {
			elsewhere = p
		}
	})
	if elsewhere != "" {
		return fmt.Sprintf("; did you mean %q?", elsewhere)
	}
	return "; known here: " + strings.Join(known, ", ")
}

// distance is the number of characters to insert, remove or replace to make b from a
// (Levenshtein). For a key that is far too long it returns its length.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
