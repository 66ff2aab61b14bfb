package event

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type plugged struct {
	OfDatapath
	Port string `event:"port"`
	where
	Err error `event:"error"`
}

// where is an embedded part shared by several events.
type where struct {
	Slot int `event:"slot" means:"number of the slot"`
}

var kindOfPlugged = Declare[plugged](Kind{Name: "plugged", Level: Warn, Meaning: "A plug is in.", Advice: "Nothing."})

type listed struct {
	Base
	Slot   int   `event:"slot"`
	values []any `event:"-"`
}

func (listed) List() []Field {
	return []Field{{Name: "a", Meaning: "first"}, {Name: "a_delta"}}
}
func (l listed) Values() []any { return l.values }

var _ = Declare[listed](Kind{Name: "listed", Meaning: "A list."})

func TestValues(t *testing.T) {
	for _, tc := range []struct {
		e    Event
		want string
	}{
		{plugged{Port: "p", where: where{7}}, "datapath=<nil> port=p slot=7 error=<nil> "},
		{listed{Slot: 3, values: []any{1, 2}}, "slot=3 a=1 a_delta=2 "},
	} {
		var got strings.Builder
		for name, value := range Values(tc.e) {
			fmt.Fprintf(&got, "%s=%v ", name, value)
		}
		if got.String() != tc.want {
			t.Errorf("%T: %q, want %q", tc.e, got.String(), tc.want)
		}
		for range Values(tc.e) {
			break
		}
		var names []string
		for _, f := range KindOf(tc.e).Fields() {
			names = append(names, f.Name)
		}
		var want []string
		for f := range strings.FieldsSeq(tc.want) {
			name, _, _ := strings.Cut(f, "=")
			want = append(want, name)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%T: fields (-want +got):\n%s", tc.e, diff)
		}
	}
	if kinds := Kinds(); len(kinds) != 2 || kinds[0].Name != "listed" || kinds[1] != kindOfPlugged ||
		KindOf(plugged{}) != kindOfPlugged {
		t.Errorf("kinds: %v", kinds)
	}
}

type untagged struct {
	Base
	Port string
}

type undeclared struct{ Base }

func TestRefuses(t *testing.T) {
	for want, declare := range map[string]func(){
		"event: event.plugged is declared twice":  func() { Declare[plugged](Kind{}) },
		"event: event.untagged.Port has no tag":   func() { Declare[untagged](Kind{}) },
		"event: event.undeclared is not declared": func() { KindOf(undeclared{}) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panic %v, want %s", got, want)
				}
			}()
			declare()
		}()
	}
}

func TestLevels(t *testing.T) {
	if got := fmt.Sprint(Debug, Info, Warn, Error); got != "DEBUG INFO WARN ERROR" {
		t.Error(got)
	}
}
