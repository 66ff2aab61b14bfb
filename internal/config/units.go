package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// errNegative is for a well-formed value below zero.
var errNegative = errors.New("must not be negative")

// sizeUnits are the units of a size, the largest first. They are binary only, because decimal units
// beside them would cause mistakes.
var sizeUnits = []struct {
	name  string
	bytes uint64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1},
}

// parseSize parses an integer with a unit, or a bare 0. Values beyond 64 bits become the maximum
// value, which no range allows.
func parseSize(s string) (uint64, error) {
	if s == "0" {
		return 0, nil
	}
	end := strings.LastIndexAny(s, "0123456789.") + 1
	num, unit := s[:end], s[end:]
	if digits, ok := strings.CutPrefix(num, "-"); ok && isDecimal(digits) {
		return 0, errNegative
	}
	if !isDecimal(num) {
		return 0, fmt.Errorf("want a whole number with a unit B, KiB, MiB or GiB, not %q", s)
	}
	if unit == "" {
		return 0, fmt.Errorf("has no unit; want B, KiB, MiB or GiB, as in %sB", num)
	}
	for _, u := range sizeUnits {
		if u.name != unit {
			continue
		}
		n, err := strconv.ParseUint(num, 10, 64)
		if err != nil || n > math.MaxUint64/u.bytes {
			return math.MaxUint64, nil
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("unknown unit %q; want B, KiB, MiB or GiB (sizes have binary units only)", unit)
}

// formatSize writes n in the largest unit that divides it.
func formatSize(n uint64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatUint(n/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// rateUnit is the one unit of a rate.
const rateUnit = "/s"

// parseRate parses an integer with the unit /s, or a bare 0. Values beyond 64 bits become the
// maximum value, which no range allows.
func parseRate(s string) (uint64, error) {
	num, hasUnit := strings.CutSuffix(s, rateUnit)
	if digits, ok := strings.CutPrefix(num, "-"); ok && isDecimal(digits) {
		return 0, errNegative
	}
	switch {
	case !isDecimal(num):
		return 0, fmt.Errorf("want a whole number a second, such as 1000/s, not %q", s)
	case !hasUnit && num != "0":
		return 0, fmt.Errorf("has no unit; want /s, as in %s/s", num)
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil {
		return math.MaxUint64, nil
	}
	return n, nil
}

// formatRate writes n with its unit.
func formatRate(n uint64) string {
	if n == 0 {
		return "0"
	}
	return strconv.FormatUint(n, 10) + rateUnit
}

// parseDuration reads a duration in Go's syntax, or a bare 0.
func parseDuration(s string) (time.Duration, error) {
	if isDecimal(s) && s != "0" {
		return 0, fmt.Errorf("has no unit; want ms, s, m or h, as in %ss", s)
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("want a number with a unit, such as 500ms, 10s, 5m or 1h30m, not %q", s)
	case d < 0:
		return 0, errNegative
	}
	return d, nil
}

// formatDuration writes d in Go's syntax without the zero parts at its end.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseInt reads a decimal integer: no sign but minus, no underscores, no other base, no
// leading zero, because YAML versions read those differently. A value beyond 64 bits is
// returned as the greatest value.
func parseInt(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	if !isDecimal(digits) || (len(digits) > 1 && digits[0] == '0') {
		return 0, fmt.Errorf("want a decimal integer, not %s", s)
	}
	if negative {
		return 0, errNegative
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return math.MaxInt64, nil
	}
	return n, nil
}

func isDecimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parseMode reads the permissions of a file: four octal digits, the first a
// zero, or three.
func parseMode(s string) (uint64, error) {
	m, err := strconv.ParseUint(s, 8, 16)
	if err != nil || len(s) < 3 || len(s) > 4 || len(s) == 4 && s[0] != '0' {
		return 0, fmt.Errorf("want octal permissions such as 0660, not %q", s)
	}
	return m, nil
}

// formatMode writes permissions as parseMode reads them.
func formatMode(m uint64) string { return fmt.Sprintf("%04o", m) }
