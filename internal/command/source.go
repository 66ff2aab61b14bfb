package command

import (
	"dpifd/internal/config"

	"github.com/spf13/cobra"
)

// source says where a configuration comes from: a file, and flags that stand
// in for what it says.
type source struct {
	path string
	set  []string // KEY=VALUE
	log  logFormat
}

// flags adds --config, which must be given, --set and --log-format.
func (s *source) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.path, "config", "c", "", "configuration `FILE` (required)")
	f.StringArrayVar(&s.set, "set", nil, "`KEY=VALUE` in place of the file's, such as log.level=debug or ports[0].name=eth1; may be repeated")
	f.Var(&s.log, "log-format", "`FORMAT` of the log in place of the file's: json or console")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag was defined above
	}
	err := cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions(config.LogFormats(), cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag was defined above
	}
}

// overrides are the flags as config.Load takes them.
func (s *source) overrides() []string {
	if s.log == "" {
		return s.set
	}
	return append(s.set[:len(s.set):len(s.set)], "log.format="+string(s.log))
}

func (s *source) load() (*config.Config, error) { return config.Load(s.path, s.overrides()...) }

// args are the flags again, for another process.
func (s *source) args() []string {
	args := []string{"--config", s.path}
	for _, o := range s.overrides() {
		args = append(args, "--set", o)
	}
	return args
}

// logFormat is the value of flag --log-format.
type logFormat string

// String implements pflag.Value.
func (f *logFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *logFormat) Type() string { return "format" }

// Set implements pflag.Value.
func (f *logFormat) Set(s string) error {
	*f = logFormat(s)
	return oneOf(s, config.LogFormats())
}
