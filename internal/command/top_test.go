package command

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/inspect"
	"dpifd/internal/overview"

	"github.com/gdamore/tcell/v2"
)

// quiet is a simulated terminal whose content can be read between two updates.
type quiet struct {
	tcell.SimulationScreen
	mu sync.Mutex
}

func (q *quiet) Show() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.SimulationScreen.Show()
}

func (q *quiet) Sync() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.SimulationScreen.Sync()
}

func (q *quiet) lines() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	cells, width, height := q.GetContents()
	lines := make([]string, height)
	for i := range cells {
		if i/width < height && len(cells[i].Runes) > 0 {
			lines[i/width] += string(cells[i].Runes)
		}
	}
	return lines
}

// TestTop draws on a small simulated terminal.
func TestTop(t *testing.T) {
	screen := &quiet{SimulationScreen: tcell.NewSimulationScreen("UTF-8")}
	if err := screen.Init(); err != nil {
		t.Fatal(err)
	}
	defer screen.Fini()
	screen.SetSize(60, 8)
	var n uint64
	view := &top{screen: screen, interval: 5 * time.Millisecond, take: func() (*overview.Sample, error) {
		n++
		return &overview.Sample{At: time.Unix(int64(n), 0), Err: errors.New("none"), Kernel: inspect.Datapath{Name: "dp0",
			Ports: []inspect.Port{{No: 1, Name: "slow", Stats: dpif.VportStats{RxBytes: 10 * n}},
				{No: 2, Name: "fast", Stats: dpif.VportStats{RxBytes: 1000 * n}}}}}, nil
	}}
	done := make(chan error, 1)
	go func() { done <- view.run() }()
	shows := func(what string, wanted func(lines []string) bool) {
		t.Helper()
		var lines []string
		for range 6000 { // a minute
			lines = screen.lines()
			if wanted(lines) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%s: the screen has\n%s", what, strings.Join(lines, "\n"))
	}
	find := func(lines []string, text string) int {
		for i, line := range lines {
			if strings.Contains(line, text) {
				return i
			}
		}
		return -1
	}
	shows("the busiest first", func(l []string) bool {
		return strings.HasPrefix(l[0], "dp0") && find(l, "fast") > 0 && find(l, "fast") < find(l, "slow") &&
			strings.HasPrefix(l[7], "p ports")
	})
	for range 3 { // tx, loss, port
		screen.InjectKey(tcell.KeyRune, 's', tcell.ModNone)
	}
	shows("by number", func(l []string) bool {
		return find(l, "slow") > 0 && find(l, "slow") < find(l, "fast") && strings.Contains(l[7], "(port)")
	})
	screen.InjectKey(tcell.KeyRune, 'q', tcell.ModNone)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("q does not quit")
	}
}
