package config

import (
	"errors"
	"fmt"
	"strings"

	"dpifd/internal/forward"
)

// static checks the static flows.
func (d *decoder) static(c *Config) {
	for i, f := range c.Flows.Static {
		entry := fmt.Sprintf("flows.static[%d]", i)
		for key, text := range map[string]string{"match": f.Match, "actions": f.Actions} {
			if _, set := d.at[entry+"."+key]; text == "" && !d.bad[entry] {
				if set {
					d.check(errors.New("is empty"), entry+"."+key)
				} else {
					d.check(fmt.Errorf("a static flow has no %s", key), entry)
				}
			}
		}
		if d.bad[entry] {
			return
		}
	}
	_, err := forward.CheckStatic(c.Flows.Static)
	var s *forward.StaticError
	if !errors.As(err, &s) {
		return
	}
	path := fmt.Sprintf("flows.static[%d].match", s.Flow)
	if s.InActions {
		path = fmt.Sprintf("flows.static[%d].actions", s.Flow)
	}
	p := d.at[path]
	column := p.Column
	if s.Column > 0 {
		column += s.Column - 1 + d.quote(p.Line, p.Column)
	}
	d.bad[path] = true
	if s.Earlier < 0 {
		d.add(p.Line, column, "%s: %v", path, s.Err)
		return
	}
	earlier := fmt.Sprintf("flows.static[%d].match", s.Earlier)
	e := d.at[earlier]
	d.add(p.Line, column, "%s: overlaps %s at %s:%d:%d, which has other actions; flows in the kernel have no priorities",
		path, earlier, d.file, e.Line, e.Column)
}

// quote returns 1 if the value at a position is quoted, else 0.
func (d *decoder) quote(line, column int) int {
	if rs := []rune(d.lines[line-1]); column <= len(rs) && strings.ContainsRune(`"'`, rs[column-1]) {
		return 1
	}
	return 0
}
