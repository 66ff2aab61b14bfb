package config

// Stages says in how many stages the flows of the learning switch are put.
type Stages string

// StagesOne uses one flow for each pair of stations, StagesTwo one for each source and one for
// each destination. StagesAuto chooses one of them for each VLAN.
const (
	StagesAuto Stages = "auto"
	StagesOne  Stages = "one"
	StagesTwo  Stages = "two"
)

// Values returns the words of the file.
func (Stages) Values() []string { return strs(StagesAuto, StagesOne, StagesTwo) }
