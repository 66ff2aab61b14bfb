package mmapring

// Mode says whether sockets have rings.
type Mode string

const (
	ModeOff     Mode = "off"     // never requests a ring
	ModeAuto    Mode = "auto"    // uses rings if the kernel has them and memory allows
	ModeRequire Mode = "require" // fails to start without rings
)

// Values returns the modes by name.
func (Mode) Values() []string {
	return []string{string(ModeAuto), string(ModeRequire), string(ModeOff)}
}
