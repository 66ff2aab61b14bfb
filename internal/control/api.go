package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

const (
	pathUpcalls  = "/v1/upcalls"
	pathProfiles = "/debug/pprof/"
)

// Notice is one line of a stream of upcalls: first the datapath's name, when
// what comes from then on is watched, then upcalls, and how many were left out at
// a place.
type Notice struct {
	Watching string  `json:"watching,omitempty"` // a datapath
	Upcall   *Upcall `json:"upcall,omitempty"`
	Dropped  uint64  `json:"dropped,omitempty"`
}

// Upcall is one upcall and what was decided about it, as event upcall tells
// it.
type Upcall struct {
	Time        time.Time `json:"time"` // when it was decided
	Datapath    string    `json:"datapath"`
	Port        string    `json:"port"`
	PortNo      uint32    `json:"port_no"`
	PacketBytes int       `json:"packet_bytes"` // of the whole packet
	Decision    string    `json:"decision"`
	Install     bool      `json:"install"`
	Key         string    `json:"key"`     // ODP text
	Actions     string    `json:"actions"` // ODP text
	// Packet begins with the Ethernet header; as many bytes as were asked for.
	Packet []byte `json:"packet,omitempty"`
}

// Failure is the answer to a request that failed.
type Failure struct {
	Error string `json:"error"`
}

// Fields are names with values, as a JSON object whose order is kept.
type Fields []Field

// Field is one of Fields. Its value is JSON.
type Field struct {
	Name  string
	Value json.RawMessage
}

// Text returns the value of a field for people, "" if there is none.
func (f Fields) Text(name string) string {
	for _, e := range f {
		if e.Name == name {
			return e.Text()
		}
	}
	return ""
}

// Text returns the value for people: a string without its quotes.
func (f Field) Text() string {
	var s string
	if json.Unmarshal(f.Value, &s) == nil {
		return s
	}
	return string(f.Value)
}

// MarshalJSON implements json.Marshaler.
func (f Fields) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(e.Name)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(e.Value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Fields) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("fields: not an object: %w", err)
	}
	*f = nil
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return fmt.Errorf("fields: %w", err)
		}
		e := Field{Name: t.(string)} // the key of an object
		if err := d.Decode(&e.Value); err != nil {
			return fmt.Errorf("fields: %s: %w", e.Name, err)
		}
		*f = append(*f, e)
	}
	return nil
}
