package mmapring

// Mode says whether sockets have rings.
type Mode string

const (
	ModeOff     Mode = "off"     // never asks the kernel for a ring
	ModeAuto    Mode = "auto"    // takes rings where the kernel has them and memory allows
	ModeRequire Mode = "require" // refuses to start without
)

// Values returns the modes by name.
func (Mode) Values() []string {
	return []string{string(ModeAuto), string(ModeRequire), string(ModeOff)}
}
