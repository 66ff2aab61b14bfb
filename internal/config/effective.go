package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Effective returns c as a configuration file that sets every key, in the order of the struct.
// Parse turns it into an equal Config. The caller owns the bytes.
func (c *Config) Effective() []byte {
	var b bytes.Buffer
	writeMapping(&b, reflect.ValueOf(*c), "", "")
	return b.Bytes()
}

// writeMapping writes the struct v; the first line is indented by first, the
// others by rest.
func writeMapping(b *bytes.Buffer, v reflect.Value, first, rest string) {
	indent := first
	for f, fv := range v.Fields() {
		if f.Tag.Get("optional") != "" && fv.IsZero() {
			continue
		}
		fmt.Fprintf(b, "%s%s:", indent, f.Tag.Get("yaml"))
		indent = rest
		switch {
		case isMapping(fv.Type()):
			b.WriteByte('\n')
			writeMapping(b, fv, rest+"  ", rest+"  ")
		case fv.Kind() == reflect.Slice && fv.Len() == 0:
			b.WriteString(" []\n")
		case fv.Kind() == reflect.Slice && isScalar(fv.Type().Elem()):
			words := make([]string, fv.Len())
			for i := range words {
				words[i] = formatScalar(fv.Index(i), "")
			}
			fmt.Fprintf(b, " [%s]\n", strings.Join(words, ", "))
		case fv.Kind() == reflect.Slice:
			b.WriteByte('\n')
			for i := range fv.Len() {
				writeMapping(b, fv.Index(i), rest+"  - ", rest+"    ")
			}
		default:
			fmt.Fprintf(b, " %s\n", formatScalar(fv, f.Tag))
		}
	}
}

// formatScalar writes a value as scalar reads it.
func formatScalar(v reflect.Value, tag reflect.StructTag) string {
	switch {
	case v.Type().Implements(reflect.TypeFor[enum]()):
		return v.String()
	case isScalar(v.Type()):
		s := fmt.Sprint(v.Interface())
		if strings.Contains(s, ":") {
			s = strconv.Quote(s) // because YAML may parse it as a key
		}
		return s
	case v.Kind() == reflect.String:
		return strconv.Quote(v.String())
	case v.Type() == durationType:
		return formatDuration(time.Duration(v.Int()))
	case tag.Get("unit") == "bytes":
		return formatSize(v.Uint())
	case tag.Get("unit") == "mode":
		return formatMode(v.Uint())
	case tag.Get("unit") == "rate":
		return formatRate(v.Uint())
	default:
		return fmt.Sprint(v.Interface())
	}
}
