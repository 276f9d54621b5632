package main

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// durationVar adds a flag for a duration in the inventory's notation: 15s, 1h30m, 30d. It
// refuses a negative one. The usage names the value in backquotes: `DURATION`.
func durationVar(cmd *cobra.Command, to *time.Duration, name string, value time.Duration, usage string) {
	*to = value
	cmd.Flags().Var((*durationValue)(to), name, usage)
}

// durationValue is the pflag.Value of durationVar.
type durationValue time.Duration

// Set is pflag.Value.
func (d *durationValue) Set(text string) error {
	value, wrong, hint := inventory.Duration(text)
	if wrong != "" {
		return usage(wrong, hint)
	}
	*d = durationValue(value)
	return nil
}

// String returns the duration as Set accepts it, "" for 0, for which help shows no default.
func (d *durationValue) String() string {
	const day = 24 * time.Hour
	switch value := time.Duration(*d); {
	case value == 0:
		return ""
	case value%day == 0:
		return fmt.Sprintf("%dd", value/day)
	default:
		text := value.String()
		for _, zero := range []string{"m0s", "h0m"} { // 5m0s, 1h0m0s
			if strings.HasSuffix(text, zero) {
				text = text[:len(text)-2]
			}
		}
		return text
	}
}

// Type is pflag.Value.
func (d *durationValue) Type() string { return "duration" }

// countVar adds a flag for a whole number within bounds.
func countVar(cmd *cobra.Command, to *int, name string, value int, within count, usage string) {
	*to = value
	cmd.Flags().Var(&countValue{to, within}, name, usage)
}

// count is the least and the most of a number.
type count struct{ least, most int }

// countValue is the pflag.Value of countVar.
type countValue struct {
	to     *int
	within count
}

// Set is pflag.Value.
func (c *countValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < c.within.least || n > c.within.most {
		return usage(fmt.Sprintf("must be a whole number from %d to %d, not %q", c.within.least, c.within.most, text), "")
	}
	*c.to = n
	return nil
}

// String returns the number, "" for a default that is none, which help does not show.
func (c *countValue) String() string {
	if c.to == nil || *c.to < c.within.least {
		return ""
	}
	return strconv.Itoa(*c.to)
}

// Type is pflag.Value.
func (c *countValue) Type() string { return "int" }

// reasonValue is the pflag.Value of a text that the journal and the reports show.
type reasonValue string

// Set is pflag.Value.
func (r *reasonValue) Set(text string) error {
	const most = 200
	if len(text) > most || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return usage(fmt.Sprintf("must be one line of at most %d bytes", most), "for example: --ignore-window 'CHG-1234: the certificate ends tonight'")
	}
	*r = reasonValue(strings.TrimSpace(text))
	return nil
}

// String is pflag.Value.
func (r *reasonValue) String() string { return string(*r) }

// Type is pflag.Value; refuseEmpty checks a string.
func (r *reasonValue) Type() string { return "string" }

// proofValue is the pflag.Value of the proof that a rotation requires.
type proofValue string

// Set is pflag.Value.
func (p *proofValue) Set(text string) error {
	if text != rollout.Uploaded && text != rollout.LogClean {
		return usage("must be uploaded or log_clean", "for example: --require-proof uploaded")
	}
	*p = proofValue(text)
	return nil
}

// String is pflag.Value.
func (p *proofValue) String() string { return string(*p) }

// Type is pflag.Value; refuseEmpty checks a string.
func (p *proofValue) Type() string { return "string" }

// versionValue is the pflag.Value of a package's version.
type versionValue string

// versions matches what package managers use, and no option (deb-version(7), rpm-version(7)).
var versions = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+:~^_-]{0,99}$`)

// Set is pflag.Value.
func (v *versionValue) Set(text string) error {
	if !versions.MatchString(text) {
		return usage("must be a version of a package", "for example: --to 2.0.0; see: aoifleet upgrade --check")
	}
	*v = versionValue(text)
	return nil
}

// String is pflag.Value.
func (v *versionValue) String() string { return string(*v) }

// Type is pflag.Value; refuseEmpty checks a string.
func (v *versionValue) Type() string { return "string" }

// onceVar adds a flag for a text that may be given once: of two, the last would silently
// count alone. again returns what to write instead.
func onceVar(cmd *cobra.Command, to *string, name, short, usage string, again func(first, second string) string) {
	cmd.Flags().VarP(&onceValue{to: to, again: again}, name, short, usage)
}

// onceValue is the pflag.Value of onceVar.
type onceValue struct {
	to    *string
	given bool
	again func(first, second string) string
}

// Set is pflag.Value.
func (o *onceValue) Set(text string) error {
	if o.given && text != *o.to { // cobra parses twice for a completion
		return usage("is given twice", o.again(*o.to, text))
	}
	*o.to, o.given = text, true
	return nil
}

// String is pflag.Value.
func (o *onceValue) String() string {
	if o.to == nil {
		return ""
	}
	return *o.to
}

// Type is pflag.Value.
func (o *onceValue) Type() string { return "string" }

// flagError translates an error of pflag to a usage error of this program: no text of a
// library reaches the operator.
func flagError(cmd *cobra.Command, err error) error {
	see := "see: " + cmd.CommandPath() + " --help"
	var unknown *pflag.NotExistError
	var bare *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown, see)
	case errors.As(err, &bare):
		name, _ := pflag.UnquoteUsage(bare.GetFlag())
		return usage("--"+bare.GetFlag().Name+" needs a value", "write --"+bare.GetFlag().Name+" "+name+"; "+see)
	case errors.As(err, &invalid):
		return invalidValue(invalid, see)
	case errors.As(err, &syntax):
		return usage(syntax.GetSpecifiedFlag()+" is not a flag", see)
	}
	return usage(err.Error(), see)
}

// unknownFlag returns the error of a flag that a command does not have. -f is Ansible's
// number of hosts at once, where a habit does harm.
func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError, see string) error {
	name := unknown.GetSpecifiedName()
	if name == "forks" || name == "f" && unknown.GetSpecifiedShortnames() != "" {
		return usage("there is no flag -f: Ansible's -f 50 means fifty hosts at once, here fifty agents that restart at once", "the inventory says how many may (rollout.parallel); for one run: --parallel N")
	}
	dashes, hint := "--", ""
	if unknown.GetSpecifiedShortnames() != "" {
		dashes = "-"
	} else {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		hint = inventory.DidYouMean("--"+name, slices.Values(names))
	}
	return usage("unknown flag "+dashes+name, cmp.Or(hint, see))
}

// invalidValue returns the error of a value that a flag does not accept.
func invalidValue(invalid *pflag.InvalidValueError, see string) error {
	flag, value := "--"+invalid.GetFlag().Name, invalid.GetValue()
	if own := problem.As(invalid); own != nil { // of a flag type of this program
		return usage(flag+" "+own.Message, cmp.Or(own.Hint, see))
	}
	if invalid.GetFlag().Value.Type() == "bool" {
		return usage(fmt.Sprintf("%s takes no value, not %q", flag, value), "write "+flag+" alone, or leave it out")
	}
	return usage(fmt.Sprintf("%s can't be %q", flag, value), see)
}

// sameMeaning makes a familiar spelling of other programs a name of the same flag.
func sameMeaning(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "check" {
		name = "dry-run"
	}
	return pflag.NormalizedName(name)
}
