package portdevice

import "testing"

func TestDerivedMAC(t *testing.T) {
	a := derivedMAC("machine", "", "dp0", "int0")
	if a != derivedMAC("machine", "", "dp0", "int0") || a[0]&3 != 2 {
		t.Errorf("%v: want the same again, locally administered and unicast", a)
	}
	for _, other := range [][]string{
		{"other", "", "dp0", "int0"}, {"machine", "blue", "dp0", "int0"}, {"machine", "", "dp1", "int0"},
		{"machine", "", "dp0", "int1"}, {"machine", "", "dp", "0int0"},
	} {
		if derivedMAC(other...) == a {
			t.Errorf("%q has the same MAC", other)
		}
	}
}
