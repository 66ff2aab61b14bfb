package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

var durationType = reflect.TypeFor[time.Duration]()

// decoder sets a Config from a parsed file, over the defaults. A wrong value is reported and
// keeps its default, and decoding continues.
type decoder struct {
	*report
	// at has the position of each value in the file by path, such as ring.mode or ports[3].name,
	// and of each list entry.
	at map[string]*token.Position
	// bad has the reported paths and the mappings around them: rules over several values skip
	// them.
	bad map[string]bool
	// flags has the flags that override values of the file, by path.
	flags map[string]string
}

// place returns where an AST node begins.
func place(n ast.Node) *token.Position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	return n.GetToken().Position
}

// fail reports a mistake about the value at path, at a place of the file.
func (d *decoder) fail(path string, p *token.Position, format string, args ...any) {
	d.bad[path] = true
	if i := strings.LastIndexByte(path, '.'); i > 0 {
		d.bad[path[:i]] = true
	}
	if flag := d.flag(path); flag != "" {
		d.addOverride(flag, fmt.Sprintf(format, args...))
		return
	}
	d.add(p.Line, p.Column, format, args...)
}

// value decodes n into v, which the field f describes.
func (d *decoder) value(path string, n ast.Node, v reflect.Value, f reflect.StructField) {
	d.at[path] = place(n)
	switch {
	case isScalar(v.Type()):
		if err := ownScalar(n, v); err != nil {
			d.fail(path, place(n), "%s: %v", path, err)
		}
	case v.Kind() == reflect.Struct:
		d.mapping(path, n, v)
	case v.Kind() == reflect.Slice:
		d.list(path, n, v)
	default:
		if err := scalar(n, v, f.Tag); err != nil {
			d.fail(path, place(n), "%s: %v", path, err)
		}
	}
}

// mapping decodes the keys of n into the struct v.
func (d *decoder) mapping(path string, n ast.Node, v reflect.Value) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		name := path
		if name == "" {
			name = "the file"
		}
		d.fail(path, place(n), "%s: want a mapping (key: value), not %s", name, describe(n))
		return
	}
	seen := make(map[string]int)
	for _, kv := range m.Values {
		if d.full() {
			return
		}
		p := place(kv.Key)
		s, ok := kv.Key.(*ast.StringNode)
		if !ok {
			d.fail(path, p, "a key is a word, not %s", describe(kv.Key))
			continue
		}
		key := s.Value
		full := strings.TrimPrefix(path+"."+key, ".")
		if line, dup := seen[key]; dup {
			d.fail(full, p, "%s: duplicate key; the first is on line %d", full, line)
			continue
		}
		seen[key] = p.Line
		f, ok := fieldByKey(v.Type(), key)
		switch {
		case !ok:
			d.fail(full, p, "unknown key %q%s%s", full, suggest(v.Type(), path, key), commaHint(m, kv))
		case kv.Value == nil || kv.Value.Type() == ast.NullType:
			d.fail(full, p, "%s: has no value; give one or remove the key", full)
		default:
			d.value(full, kv.Value, v.FieldByIndex(f.Index), f)
		}
	}
}

// list decodes the entries of n into the slice v.
func (d *decoder) list(path string, n ast.Node, v reflect.Value) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(path, place(n), "%s: want a list, not %s", path, describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(s.Values))
	for i, e := range s.Values {
		if d.full() {
			return
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if p, ok := elem.Addr().Interface().(*Port); ok {
			*p = defaultPort()
		}
		d.value(fmt.Sprintf("%s[%d]", path, i), e, elem, reflect.StructField{})
		out = reflect.Append(out, elem)
	}
	v.Set(out)
}

// scalar decodes n into v, which is neither a struct nor a list.
func scalar(n ast.Node, v reflect.Value, tag reflect.StructTag) error {
	text := n.GetToken().Value
	_, isString := n.(*ast.StringNode)
	_, isBool := n.(*ast.BoolNode)
	_, isInt := n.(*ast.IntegerNode)
	_, isFloat := n.(*ast.FloatNode)
	if e, ok := v.Interface().(enum); ok {
		// The text is used instead of YAML's interpretation: off is a boolean in YAML 1.1 and a
		// string in 1.2.
		if !(isString || isBool) || !slices.Contains(e.Values(), text) {
			return fmt.Errorf("want %s, not %s", oneOf(e.Values()), describe(n))
		}
		v.SetString(text)
		return nil
	}
	switch {
	case v.Kind() == reflect.String:
		if !isString {
			return fmt.Errorf("want a string, not %s%s", describe(n), quoteHint(n))
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return fmt.Errorf("want true or false, not %s", describe(n))
		}
		v.SetBool(b.Value)
	case v.Type() == durationType:
		if !isString && !isInt && !isFloat {
			return fmt.Errorf("want a duration, not %s", describe(n))
		}
		t, err := parseDuration(text)
		if err != nil {
			return err
		}
		if !inRange(t, tag, parseDuration) {
			return outOfRange(text, tag)
		}
		v.SetInt(int64(t))
	case tag.Get("unit") == "bytes":
		if !isString && !isInt && !isFloat {
			return fmt.Errorf("want a size, not %s", describe(n))
		}
		s, err := parseSize(text)
		if err != nil {
			return err
		}
		if !inRange(s, tag, parseSize) {
			return outOfRange(text, tag)
		}
		v.SetUint(s)
	case tag.Get("unit") == "mode":
		if !isString && !isInt {
			return fmt.Errorf("want a file mode, not %s", describe(n))
		}
		m, err := parseMode(text)
		if err != nil {
			return err
		}
		if !inRange(m, tag, parseMode) {
			return outOfRange(text, tag)
		}
		v.SetUint(m)
	case tag.Get("unit") == "rate":
		if !isString && !isInt && !isFloat {
			return fmt.Errorf("want a rate, not %s", describe(n))
		}
		r, err := parseRate(text)
		if err != nil {
			return err
		}
		if !inRange(r, tag, parseRate) {
			return outOfRange(text, tag)
		}
		v.SetUint(r)
	default:
		// YAML treats an integer beyond 64 bits as a plain string.
		huge := isString && n.GetToken().Type == token.StringType && isDecimal(text)
		if !isInt && !huge {
			return fmt.Errorf("want an integer, not %s", describe(n))
		}
		i, err := parseInt(text)
		if err != nil {
			return err
		}
		if !inRange(i, tag, parseInt) {
			return outOfRange(text, tag)
		}
		if v.CanUint() {
			v.SetUint(uint64(i))
		} else {
			v.SetInt(i)
		}
	}
	return nil
}

// ownScalar decodes n into v, whose type has its own syntax.
func ownScalar(n ast.Node, v reflect.Value) error {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode:
		return parserOf(v).parseScalar(n.GetToken().Value)
	}
	return fmt.Errorf("want a value, not %s%s", describe(n), colonHint(n))
}

// colonHint is for a value that YAML parses as a mapping because of its colon, such as an IPv6
// address in brackets.
func colonHint(n ast.Node) string {
	m, ok := n.(*ast.MappingNode)
	if !ok || m.IsFlowStyle || len(m.Values) != 1 {
		return ""
	}
	kv := m.Values[0]
	value := ""
	if kv.Value != nil && kv.Value.Type() != ast.NullType {
		value = kv.Value.String()
	}
	return fmt.Sprintf("; quote it: %q", abbreviate(kv.Key.String()+":"+value))
}

// commaHint is for a key in braces without a value, or with a parenthesis: it is the rest of a
// value that contains a comma, and perhaps a colon after that.
func commaHint(m *ast.MappingNode, kv *ast.MappingValueNode) string {
	empty := kv.Value == nil || kv.Value.Type() == ast.NullType
	if !m.IsFlowStyle || !empty && !strings.Contains(kv.Key.String(), "(") {
		return ""
	}
	return "; if it belongs to the value before it, quote that value"
}

// inRange reports whether x is between the field's min and max, which parse reads, or is an allowed
// 0.
func inRange[T time.Duration | uint64 | int64](x T, tag reflect.StructTag, parse func(string) (T, error)) bool {
	low, err := parse(tag.Get("min"))
	if err != nil {
		panic("config: tag min: " + err.Error())
	}
	high, err := parse(tag.Get("max"))
	if err != nil {
		panic("config: tag max: " + err.Error())
	}
	return (low <= x && x <= high) || (x == 0 && tag.Get("zero") != "")
}

func outOfRange(text string, tag reflect.StructTag) error {
	or := ""
	if z := tag.Get("zero"); z != "" {
		or = ", or 0 for " + z
	}
	return fmt.Errorf("%s is out of range; want %s to %s%s", text, tag.Get("min"), tag.Get("max"), or)
}

// describe returns the kind of an AST node for messages.
func describe(n ast.Node) string {
	text := n.GetToken().Value
	switch n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return fmt.Sprintf("the string %q", abbreviate(text))
	case *ast.BoolNode:
		return "the boolean " + text
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + abbreviate(text)
	case *ast.NullNode:
		return "null"
	default:
		return n.Type().String()
	}
}

func quoteHint(n ast.Node) string {
	switch n.(type) {
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.NullNode:
		return fmt.Sprintf("; quote it: %q", abbreviate(n.GetToken().Value))
	}
	return ""
}

// abbreviate shortens a value for a message.
func abbreviate(s string) string {
	const limit = 40
	if rs := []rune(s); len(rs) > limit {
		return string(rs[:limit]) + "..."
	}
	return s
}

func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
