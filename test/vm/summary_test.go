package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const begin, end = "MARK begin ", "MARK end "
	tests := []struct {
		name  string
		lines []string
		ok    bool
		want  []string // expected lines
		last  string
	}{
		{
			name: "passed and skipped",
			lines: []string{
				begin + "p/a", "=== RUN   TestX", "    x_test.go:7: note", "--- PASS: TestX (0.01s)",
				"=== RUN   TestRings", "    need.go:8: trying", "    need.go:31: kernel lacks rings: protocol not available",
				"--- SKIP: TestRings (0.00s)", "PASS", end + "p/a 0",
				begin + "p/b", "=== RUN   TestY", "=== RUN   TestY/sub", "    --- PASS: TestY/sub (0.00s)",
				"--- PASS: TestY (0.00s)", "PASS", end + "p/b 0",
			},
			ok:   true,
			want: []string{"SKIP: p/a TestRings: kernel lacks rings: protocol not available"},
			last: "2 passed, 0 failed, 1 skipped",
		},
		{
			name: "failed",
			lines: []string{
				begin + "p/a", "=== RUN   TestX", "=== PAUSE TestX", "=== RUN   TestZ", "=== NAME  TestX",
				"    x_test.go:8: waiting for event ready", "    x_test.go:9: lost 3", "    x_test.go:11: daemon wrote:",
				"--- FAIL: TestX (1.20s)",
				"--- PASS: TestZ (1.20s)", "FAIL", end + "p/a 1",
				begin + "p/b", "--- PASS: TestY (0.00s)", "PASS", end + "p/b 0",
			},
			want: []string{"FAIL: p/a TestX: lost 3"},
			last: "2 passed, 1 failed, 0 skipped",
		},
		{
			name:  "cut off",
			lines: []string{begin + "p/a", "--- PASS: TestX (0.01s)", "panic: x"},
			want:  []string{"FAIL\tp/a [did not end]", "FAIL\tp/b [did not run]"},
			last:  "1 passed, 0 failed, 0 skipped",
		},
		{
			name:  "nothing ran",
			lines: []string{begin + "p/a", "PASS", end + "p/a 0", begin + "p/b", "PASS", end + "p/b 0"},
			want:  []string{"no test ran to a verdict"},
			last:  "0 passed, 0 failed, 0 skipped",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			s := &summary{out: &out, mark: "MARK"}
			s.expect("p/a")
			s.expect("p/b")
			for _, line := range tt.lines {
				if _, err := s.Write([]byte(line + "\n")); err != nil {
					t.Fatal(err)
				}
			}
			if ok := s.close(); ok != tt.ok {
				t.Errorf("ok %v, want %v", ok, tt.ok)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			for _, want := range tt.want {
				if !slices.Contains(lines, want) {
					t.Errorf("no line %q in:\n%s", want, &out)
				}
			}
			if got := lines[len(lines)-1]; got != tt.last {
				t.Errorf("last line %q, want %q", got, tt.last)
			}
		})
	}
}

func TestTestNames(t *testing.T) {
	src := `package x
func TestMain(m *testing.M) {}
func TestOne(t *testing.T) {}
func helper(t *testing.T) {}
func BenchmarkX(b *testing.B) {}
func Test_two(t *testing.T) {
`
	if got, want := testNames([]byte(src)), []string{"TestOne", "Test_two"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}
