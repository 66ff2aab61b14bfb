package prometheus_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	monitoring = "../../docs/MONITORING.md"
	// sample is the log of an eventful run on a real datapath: make sample-log.
	sample = "../mtail/testdata/dpifd.log"
)

// oneLiners returns the shell command of each alert in docs/MONITORING.md.
func oneLiners(t *testing.T) map[string]string {
	t.Helper()
	block := regexp.MustCompile("(?m)^### (.+)\n(?:.*\n)+?```logql\n(?:.*\n)+?```\n```sh\n(.+)\n```\n")
	out := map[string]string{}
	for _, m := range block.FindAllStringSubmatch(read(t, monitoring), -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			out[name] = m[2]
		}
	}
	return out
}

// TestEachAlertInThreeLanguages compares the page with the rules.
func TestEachAlertInThreeLanguages(t *testing.T) {
	lines := oneLiners(t)
	var rulesHave []string
	for _, m := range alertName.FindAllStringSubmatch(read(t, rules), -1) {
		rulesHave = append(rulesHave, m[1])
		if lines[m[1]] == "" {
			t.Errorf("docs/MONITORING.md has no LogQL and no command for %s", m[1])
		}
	}
	for name := range lines {
		if !slices.Contains(rulesHave, name) {
			t.Errorf("docs/MONITORING.md has %s, the rules do not", name)
		}
	}
}

// TestOneLiners runs each command on the log of an eventful run instead of the journal, including a
// line that is not from dpifd, and then on an empty log.
func TestOneLiners(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("jq is not installed")
	}
	log := "panic: not a line of the log\n" + read(t, sample)
	// Alerts that the sample raises, and a part of their output.
	want := map[string]string{
		"DpifdDown": `"event":"stopped"`, "DpifdRestarting": "2", "DpifdPacketsLost": "socket_overflow\t",
		"DpifdLosesMuch": `"lost":`, "DpifdFlowLimitReached": `"event":"flow_limit_cleared"`,
		"DpifdReloadFailed": "nmae", "DpifdError": `"event":"reload_failed"`,
		"DpifdDatapathChangedByOthers": `"event":"features_restored"`,
	}
	// These depend on the speed of the machine that created the sample.
	either := []string{"DpifdManyMisses", "DpifdSlow"}
	happened := func(name string) bool { _, ok := want[name]; return ok }
	for name, line := range oneLiners(t) {
		journal, filter, ok := strings.Cut(line, " | ")
		if !ok || !strings.HasPrefix(journal, "journalctl -u dpifd -o cat ") {
			t.Errorf("%s: not a pipe from the journal: %s", name, line)
			continue
		}
		run := func(input string) string {
			cmd := exec.Command("sh", "-c", filter)
			cmd.Stdin = strings.NewReader(input)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
			return string(out)
		}
		out := run(log)
		switch {
		case happened(name) && !strings.Contains(out, want[name]):
			t.Errorf("%s: %q is not in the output:\n%s", name, want[name], out)
		case !happened(name) && !slices.Contains(either, name) && out != "":
			t.Errorf("%s: it did not happen, but there is output:\n%s", name, out)
		}
		if out := run(""); (out != "") != (name == "DpifdSilent" || name == "DpifdAbsent") {
			t.Errorf("%s: of an empty log it prints %q", name, out)
		}
	}
}
