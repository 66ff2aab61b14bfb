package endpoint

import (
	"encoding/json"
	"testing"

	"dpifd/internal/metric"

	"github.com/google/go-cmp/cmp"
)

// TestPortStatsAreOneObject: the JSON has .ports[].upcalls, and the values keep their order.
func TestPortStatsAreOneObject(t *testing.T) {
	for text, want := range map[string]PortStats{
		`{"port":"br \"7\"","port_no":3,"upcalls":5,"handler":-1}`: {
			Port: `br "7"`, PortNo: 3, Values: metric.Values{{Name: "upcalls", Value: 5}, {Name: "handler", Value: -1}}},
		`{"port":"p","port_no":0}`: {Port: "p"},
	} {
		data, err := json.Marshal(want)
		if err != nil || string(data) != text {
			t.Errorf("got %s, %v, want %s", data, err, text)
		}
		var got PortStats
		if err := json.Unmarshal([]byte(text), &got); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: %v, -want +got:\n%s", text, err, cmp.Diff(want, got))
		}
	}
}
