package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// override sets one value of c and overrides the file. text is KEY=VALUE: a key such as
// policy.mac_aging or ports[0].vlan.access, and a value as the file would have it. All mistakes
// name the text, including those found by rules over several values.
func (d *decoder) override(c *Config, text string) {
	flag := "--set " + text
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		d.addOverride(flag, "want KEY=VALUE, such as log.level=debug")
		return
	}
	v, f, err := find(reflect.ValueOf(c).Elem(), key)
	if err != nil {
		d.addOverride(flag, err.Error())
		return
	}
	r := &report{}
	node := parseYAML([]byte(value), r)
	if node == nil {
		msg := key + ": has no value"
		if strings.TrimSpace(value) != "" {
			msg = key + ": " + r.errs[0].Msg
		}
		d.addOverride(flag, msg)
		return
	}
	if v.Kind() == reflect.Slice && !isScalar(v.Type()) {
		// A list is replaced; a mapping keeps the keys that the flag lacks.
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		d.forget(key)
	}
	d.flags[key] = flag
	d.value(key, node, v, f)
}

// find returns the value at a path of c, and its field.
func find(c reflect.Value, key string) (v reflect.Value, f reflect.StructField, err error) {
	v = c
	path := ""
	for part := range strings.SplitSeq(key, ".") {
		name, index, listed := strings.Cut(part, "[")
		if v.Kind() != reflect.Struct || isScalar(v.Type()) {
			return v, f, fmt.Errorf("%s: has no keys below it", path)
		}
		full := strings.TrimPrefix(path+"."+name, ".")
		field, ok := fieldByKey(v.Type(), name)
		if !ok {
			return v, f, fmt.Errorf("unknown key %q%s", full, suggest(v.Type(), path, name))
		}
		v, f, path = v.FieldByIndex(field.Index), field, full
		if !listed {
			continue
		}
		index, closed := strings.CutSuffix(index, "]")
		i, err := strconv.Atoi(index)
		switch {
		case v.Kind() != reflect.Slice || isScalar(v.Type()):
			return v, f, fmt.Errorf("%s: is not a list", path)
		case !closed || err != nil || i < 0:
			return v, f, fmt.Errorf("%s: want an index such as [0], not [%s", path, index)
		case i >= v.Len():
			return v, f, fmt.Errorf("%s: has %d entries; there is no [%d]", path, v.Len(), i)
		}
		v, f, path = v.Index(i), reflect.StructField{}, fmt.Sprintf("%s[%d]", path, i)
	}
	return v, f, nil
}

// addOverride records a mistake in a flag.
func (d *decoder) addOverride(flag, msg string) {
	if !d.full() {
		d.errs = append(d.errs, &Error{File: flag, Msg: msg})
	}
}

// below reports whether path is key or one of those below it.
func below(path, key string) bool {
	rest, ok := strings.CutPrefix(path, key)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// forget removes the values of the file and of earlier flags at key and below.
func (d *decoder) forget(key string) {
	for path := range d.at {
		if below(path, key) {
			delete(d.at, path)
		}
	}
	for set := range d.flags {
		if below(set, key) {
			delete(d.flags, set)
		}
	}
}

// flag returns the flag that set path, "" if none did.
func (d *decoder) flag(path string) string {
	longest, flag := -1, ""
	for key, f := range d.flags {
		if len(key) > longest && below(path, key) {
			longest, flag = len(key), f
		}
	}
	return flag
}
