package transport

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseCPUList(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []int // nil: rejected
	}{
		{"0", []int{0}},
		{"0-3", []int{0, 1, 2, 3}},
		{"0-1,4,6-7", []int{0, 1, 4, 6, 7}},
		{"", nil}, {"a", nil}, {"0-", nil}, {"-1", nil}, {"3-1", nil}, {"1,0", nil}, {"1,1", nil}, {"0,,1", nil},
		{"0-99999999999", nil},
	} {
		got, err := parseCPUList(tt.text)
		if (err != nil) != (tt.want == nil) || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
	}
}

func FuzzParseCPUList(f *testing.F) {
	for _, s := range []string{"0", "0-3", "0-1,4,6-7", "0-16383", "1,0", ",", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseCPUList(text)
		if (err == nil) != (len(list) > 0) || !slices.IsSorted(list) {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// TestReadCPUs also reads the CPUs when no more files can be opened.
func TestReadCPUs(t *testing.T) {
	r, err := openCPUs()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	c, err := r.read()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.online) == 0 || c.possible <= c.online[len(c.online)-1] {
		t.Errorf("%+v", c)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, openErr := openCPUs()
	again, err := r.read()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(openErr, unix.EMFILE) {
		t.Fatalf("the limit of open files does not hold: %v", openErr)
	}
	if err != nil || !slices.Equal(again.online, c.online) || again.possible != c.possible {
		t.Errorf("%+v, %v; before %+v", again, err, c)
	}
}

// TestSpread: each handler serves about the same number of online CPUs, and each CPU that may come
// online has a handler.
func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		cpus   cpus
		values []int
		want   []int
	}{
		{cpus{4, []int{0, 1, 2, 3}, ""}, []int{7, 8}, []int{7, 8, 7, 8}},
		{cpus{4, []int{0, 2}, ""}, []int{7, 8}, []int{7, 8, 8, 8}},
		{cpus{3, []int{1}, ""}, []int{7, 8}, []int{7, 7, 7}},
		{cpus{2, []int{0, 1}, ""}, []int{7, 8, 9}, []int{7, 8}},
	} {
		if got := spread(tt.cpus, tt.values); !slices.Equal(got, tt.want) {
			t.Errorf("%+v over %v: %v, want %v", tt.cpus, tt.values, got, tt.want)
		}
	}
}
