package docs

import (
	"regexp"
	"testing"

	"dpifd/internal/config"
)

// TestConfigurationExamples: dpifd accepts each configuration shown in a page.
func TestConfigurationExamples(t *testing.T) {
	block := regexp.MustCompile("(?ms)^```yaml\n((?:datapath|ports|policy|flows):.*?)^```$")
	found := 0
	for path, p := range pages(t) {
		for _, m := range block.FindAllSubmatch(p.source, -1) {
			found++
			if _, err := config.Parse(path, m[1]); err != nil {
				t.Error(err)
			}
		}
	}
	if found < 5 {
		t.Errorf("found only %d examples", found)
	}
}
