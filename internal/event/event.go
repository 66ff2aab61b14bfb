package event

// Level is how urgent an event is. The numbers are those of zap's levels.
type Level int8

const (
	Debug Level = iota - 1 // each upcall and flow
	Info                   // a change of state
	Warn                   // something was lost or degraded
	Error                  // someone must act
)

// String returns the level as the log prints it.
func (l Level) String() string {
	return [...]string{"DEBUG", "INFO", "WARN", "ERROR"}[l-Debug]
}

// Event is a value of a declared type. Only structs that embed Base or
// OfDatapath are events.
type Event interface{ event() }

// Base makes a struct an event.
type Base struct{}

func (Base) event() {}

// OfDatapath makes a struct an event of the served datapath: the log adds the field datapath
// before the others.
type OfDatapath struct{ Base }

func (OfDatapath) ofDatapath() {}

// Sink takes events. It is safe for concurrent use, does not block for long, and keeps no
// reference to an event's data.
type Sink func(Event)

// Kind is the declaration of all events of one type.
type Kind struct {
	Name    string // in the log, snake_case
	Level   Level
	Meaning string // when the event is emitted and what it means, in sentences
	// Advice is what to do about it, in sentences. An event of level Warn or
	// Error must have one; the others may leave it empty if there is nothing to
	// do.
	Advice string

	zero   Event
	fields []Field
	index  [][]int        // of the struct's fields, for reflection
	list   func() []Field // of a Lister, nil of others
}

// Field is one field of an event in the log.
type Field struct {
	Name    string // snake_case, with the unit if there is one
	Meaning string // "" if another declaration of the same name has it
}

// Lister is an event that has more fields than its struct, from a table.
type Lister interface {
	Event
	// List returns the names of the fields. It does not read the receiver.
	List() []Field
	// Values returns a value for each of them, in the same order.
	Values() []any
}
