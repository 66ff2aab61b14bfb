package config

// Stages says in how many stages the flows of the learning switch are put.
type Stages string

// StagesOne has a flow for each pair of stations, StagesTwo one for each source and one for each destination.
// StagesAuto is either of them, by VLAN.
const (
	StagesAuto Stages = "auto"
	StagesOne  Stages = "one"
	StagesTwo  Stages = "two"
)

// Values returns the words of the file.
func (Stages) Values() []string { return strs(StagesAuto, StagesOne, StagesTwo) }
