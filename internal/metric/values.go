package metric

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Value is a figure by its name in the log.
type Value struct {
	Name  string
	Value int64
}

// Values are figures in order. In JSON they are one object that keeps the order.
type Values []Value

// Get returns the value of a name, false if there is none.
func (v Values) Get(name string) (int64, bool) {
	for _, e := range v {
		if e.Name == name {
			return e.Value, true
		}
	}
	return 0, false
}

// MarshalJSON implements json.Marshaler.
func (v Values) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, e := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, e.Name)
		b = append(b, ':')
		b = strconv.AppendInt(b, e.Value, 10)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON implements json.Unmarshaler. It takes an object of numbers.
func (v *Values) UnmarshalJSON(data []byte) error { return v.UnmarshalNumbers(data) }

// UnmarshalNumbers reads an object of numbers, without the keys in except.
func (v *Values) UnmarshalNumbers(data []byte, except ...string) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("values: %s is not an object", data)
	}
	*v = nil
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return fmt.Errorf("values: %w", err)
		}
		name := t.(string) // the key of an object
		if slices.Contains(except, name) {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return fmt.Errorf("values: %s: %w", name, err)
			}
			continue
		}
		e := Value{Name: name}
		if err := d.Decode(&e.Value); err != nil {
			return fmt.Errorf("values: %s: %w", name, err)
		}
		*v = append(*v, e)
	}
	return nil
}
