package metric

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type socket struct {
	drops uint64
	bytes uint32
	busy  time.Duration
}

type server struct {
	socket socket
	ports  int
}

var sockets = Table[socket]{
	Counter("drops", None, "messages dropped", func(s *socket) uint64 { return s.drops }).WithDelta(),
	Counter("received", Bytes, "bytes received", func(s *socket) uint32 { return s.bytes }),
	Counter("busy", Microseconds, "time spent", func(s *socket) int64 { return Duration(s.busy, Microseconds) }),
}

var servers = Join(Of(sockets, func(s *server) *socket { return &s.socket }), Table[server]{
	Gauge("ports", None, "ports now", func(s *server) int { return s.ports }),
	Gauge("longest", Milliseconds, "longest of the interval", func(*server) int64 { return 7 }).ForLogOnly(),
})

func TestRead(t *testing.T) {
	s := &server{socket: socket{drops: 1 << 40, bytes: 3, busy: 1999 * time.Nanosecond}, ports: -1}
	want := Values{{"drops", 1 << 40}, {"received_bytes", 3}, {"busy_us", 1}, {"ports", -1}, {"longest_ms", 7}}
	if got := servers.Read(s); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := servers.Lasting().Read(s); !slices.Equal(got, want[:4]) {
		t.Errorf("lasting: got %v, want %v", got, want[:4])
	}
	if got := sockets.Only("received", "drops").Read(&s.socket); !slices.Equal(got, Values{want[1], want[0]}) {
		t.Errorf("two of them: %v", got)
	}
	if n, ok := want.Get("ports"); !ok || n != -1 {
		t.Errorf("ports: %d, %t", n, ok)
	}
	if _, ok := want.Get("port"); ok {
		t.Error("a missing value was found")
	}
}

func TestNames(t *testing.T) {
	var got [][2]string
	for _, i := range servers.Infos() {
		got = append(got, [2]string{i.Kind.String(), i.Prometheus("x_")})
	}
	want := [][2]string{{"counter", "x_drops_total"}, {"counter", "x_received_bytes_total"},
		{"counter", "x_busy_seconds_total"},
		{"gauge", "x_ports"}, {"gauge", "x_longest_seconds"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds and names (-want +got):\n%s", diff)
	}
	q := Quantiles("took", "time taken", func(d *Distribution) *Distribution { return d })
	if p := q[0]; p.Field() != "took_us_p50" || p.Prometheus("x_") != "x_took_p50_seconds" ||
		q[3].Field() != "took_us_max" {
		t.Errorf("quantiles are %s, %s, %s", p.Field(), p.Prometheus("x_"), q[3].Field())
	}
	for unit, scale := range map[Unit]float64{None: 1, Bytes: 1, Microseconds: 1e6, Milliseconds: 1e3, Seconds: 1} {
		if i := (&Info{Unit: unit}); i.Scale() != scale {
			t.Errorf("unit %d: scale %g, want %g", unit, i.Scale(), scale)
		}
	}
	if d := Duration(2900*time.Millisecond, Seconds); d != 2 {
		t.Errorf("2.9 s are %d s", d)
	}
}

func TestValuesKeepTheirOrder(t *testing.T) {
	want := Values{{"b", 1<<63 - 1}, {"a", -1}}
	data, err := json.Marshal(want)
	if err != nil || string(data) != `{"b":9223372036854775807,"a":-1}` {
		t.Fatalf("%s, %v", data, err)
	}
	var got Values
	if err := json.Unmarshal(data, &got); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if err := got.UnmarshalNumbers([]byte(`{"port":"x","b":2,"n":[1]}`), "port", "n"); err != nil ||
		!slices.Equal(got, Values{{"b", 2}}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{`[1]`, `{"a":"x"}`, `{"a":1.5}`, `{"a":`, `{"a":1,`} {
		if err := got.UnmarshalNumbers([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
