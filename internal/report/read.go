package report

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
)

// maxLine is the maximum length of a line of the log in bytes; longer ones count as broken.
const maxLine = 1 << 20

// Log is the data of one or more log files.
type Log struct {
	Lines  int      // events that were read
	Broken int      // lines that are not events
	Hosts  []string // that the lines name, in order of their first appearance
	// Datapaths are in order of their first appearance.
	Datapaths []*Datapath

	byName map[string]*Datapath
}

// Errors of Read.
var (
	// ErrConsole: the log has log.format console, which is for people.
	ErrConsole = errors.New("the log is in console format; the report needs log.format: json")
	// ErrNoEvents: no line is an event of dpifd.
	ErrNoEvents = errors.New("no line is an event of dpifd")
	// ErrNoStats: there is nothing to plot.
	ErrNoStats = errors.New("the log has no stats events (log.stats_interval is 0, or log.level above info)")
)

// event has the common fields of all lines. Missing fields are zero.
type event struct {
	Level    string    `json:"level"`
	TS       time.Time `json:"ts"`
	Event    string    `json:"event"`
	Datapath string    `json:"datapath"`
	Host     string    `json:"host"` // of event starting
}

// loss has the fields of upcalls_lost.
type loss struct {
	Cause string `json:"cause"`
	Lost  uint64 `json:"lost"`
}

// figures are the plotted fields of stats.
type figures struct {
	IntervalMS   int64  `json:"interval_ms"`
	HitDelta     uint64 `json:"hit_delta"`
	MissedDelta  uint64 `json:"missed_delta"`
	LostDelta    uint64 `json:"lost_delta"`
	UpcallsDelta uint64 `json:"upcalls_delta"`
	Flows        uint64 `json:"flows"`
	FlowLimit    uint64 `json:"flow_limit"`
	Upcalls      uint64 `json:"upcalls"`
	Batches      uint64 `json:"batches"`
	BatchUS      uint64 `json:"batch_us"`
	BatchMaxUS   uint64 `json:"batch_max_us"`
	UpcallP99US  uint64 `json:"upcall_us_p99"`
}

// consoleLine matches the start of a line of log.format console: time, level, event.
var consoleLine = regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO |WARN |ERROR) [a-z0-9_]+( |$)`)

// Read reads a log, compressed by gzip or not, and adds it to l. Other lines are counted and
// skipped. Read removes what log collectors add: the prefixes of syslog and journald before the
// first brace, the JSON of journalctl -o json and of Docker. The error is the reader's, or says
// that there is no event. Read rotated files oldest first.
func (l *Log) Read(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		defer unzipped.Close()
		in = bufio.NewReaderSize(unzipped, 64<<10)
	}
	before, console := l.Lines, 0
	for n := 1; ; n++ {
		text, err := readLine(in)
		text, host := unwrap(text)
		if text = bytes.TrimSpace(text); len(text) > 0 && !l.add(text) {
			l.Broken++
			if consoleLine.Match(text) {
				console++
			}
		} else {
			l.from(host)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch {
	case l.Lines > before:
		return nil
	case console > 0:
		return ErrConsole
	}
	return ErrNoEvents
}

// readLine returns the next line without its end, empty if it is longer than
// maxLine.
func readLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(text)+len(part) > maxLine; !long {
			text = append(text, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if long {
			text = []byte("(too long)")
		}
		return bytes.TrimSpace(text), err
	}
}

// wrapper is a log collector's line that contains a line of dpifd.
type wrapper struct {
	Message json.RawMessage `json:"MESSAGE"` // journalctl -o json
	Host    string          `json:"_HOSTNAME"`
	Log     string          `json:"log"` // Docker's json-file driver
}

// unwrap returns the line of dpifd in a log collector's line, and the host if it names one, or
// the line itself.
func unwrap(text []byte) (line []byte, host string) {
	var w wrapper
	journal := bytes.Contains(text, []byte(`"MESSAGE"`))
	if !journal && !bytes.HasPrefix(text, []byte(`{"log"`)) || json.Unmarshal(text, &w) != nil {
		return text, ""
	}
	var message string
	var numbers []uint16 // how the journal exports text that has control characters
	switch {
	case !journal:
		return []byte(w.Log), ""
	case json.Unmarshal(w.Message, &message) == nil:
		return []byte(message), w.Host
	case json.Unmarshal(w.Message, &numbers) != nil:
		return text, ""
	}
	line = make([]byte, len(numbers))
	for i, n := range numbers {
		line[i] = byte(n)
	}
	return line, w.Host
}

// from records the host of a line.
func (l *Log) from(host string) {
	if host != "" && !slices.Contains(l.Hosts, host) {
		l.Hosts = append(l.Hosts, host)
	}
}

// add adds one line, and reports whether it is an event.
func (l *Log) add(text []byte) bool {
	at := bytes.IndexByte(text, '{')
	if at < 0 {
		return false
	}
	var e event
	if text = text[at:]; json.Unmarshal(text, &e) != nil || e.Event == "" || e.Level == "" || e.TS.IsZero() {
		return false
	}
	l.from(e.Host)
	switch e.Event {
	case "stats":
		var f figures
		if json.Unmarshal(text, &f) != nil {
			return false
		}
		l.datapath(e.Datapath).sample(e.TS, f)
	case "upcalls_lost":
		var x loss
		if json.Unmarshal(text, &x) != nil {
			return false
		}
		l.datapath(e.Datapath).lost(e.TS, x)
	case "port_stats":
		var f portFigures
		if json.Unmarshal(text, &f) != nil {
			return false
		}
		l.datapath(e.Datapath).portSample(e.TS, f)
	case "upcall", "flow_changed": // as many as there are packets and flows
	default:
		l.datapath(e.Datapath).mark(&e, text)
	}
	l.Lines++
	return true
}

// datapath returns the datapath of a name. Events of the daemon itself have "".
func (l *Log) datapath(name string) *Datapath {
	if d := l.byName[name]; d != nil {
		return d
	}
	if l.byName == nil {
		l.byName = map[string]*Datapath{}
	}
	d := &Datapath{Name: name, causes: map[string]*Cause{}, ports: map[string]*Port{}}
	l.byName[name] = d
	l.Datapaths = append(l.Datapaths, d)
	return d
}
