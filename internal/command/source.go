package command

import (
	"errors"
	"io"
	"strings"

	"dpifd/internal/config"

	"github.com/spf13/cobra"
)

// source is the source of a configuration: a file, and flags that override it.
type source struct {
	path string
	set  overrides
	log  logFormat
}

// flags adds --config, --set and --log-format.
func (s *source) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.path, "config", "c", "", "configuration `FILE`")
	f.Var(&s.set, "set",
		"`KEY=VALUE` overrides a key of the file, such as log.level=debug or ports[0].name=eth1; may be repeated")
	f.Var(&s.log, "log-format", "`FORMAT` of the log, overrides the file: json or console")
	err := cmd.RegisterFlagCompletionFunc("log-format",
		cobra.FixedCompletions(config.LogFormats(), cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag was defined above
	}
}

// overrides returns the flags in the form of config.Load.
func (s *source) overrides() []string {
	if s.log == "" {
		return s.set
	}
	return append(s.set[:len(s.set):len(s.set)], "log.format="+string(s.log))
}

func (s *source) load() (*config.Config, error) { return config.Load(s.path, s.overrides()...) }

// read is load with another check, where - is standard input.
func (s *source) read(stdin io.Reader, more config.Check) (*config.Config, error) {
	if s.path != "-" {
		return more.Load(s.path, s.overrides()...)
	}
	s.path = "standard input"
	return more.Read(s.path, stdin, s.overrides()...)
}

// args returns the flags for another process.
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

// overrides is the value of flag --set: each one KEY=VALUE.
type overrides []string

// String implements pflag.Value.
func (o *overrides) String() string { return strings.Join(*o, " ") }

// Type implements pflag.Value.
func (o *overrides) Type() string { return "override" }

// Set implements pflag.Value.
func (o *overrides) Set(s string) error {
	if key, _, ok := strings.Cut(s, "="); !ok || key == "" {
		return errors.New("want KEY=VALUE, such as log.level=debug")
	}
	*o = append(*o, s)
	return nil
}
