package host

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Limits on the calls for packages. A refresh of the lists of packages, and a download, wait for
// the repository; the host has shorter limits of its own.
const (
	versionsTimeout = 5 * time.Minute
	fetchTimeout    = 30 * time.Minute
	maxVersions     = 100
)

// Package is the agent's package as the host's package manager sees it. Everything in it comes
// from the host.
type Package struct {
	Name, Manager  string   // of the manager: apt, dnf or yum
	Installed      string   // "": the agent was not installed as a package
	Broken         string   // why nothing can be installed now; "": it can
	Held, OwnsUnit bool     // an administrator holds its version; the agent's unit is a file of it
	Older          bool     // the agent's process is from before the installation
	Available      []string // versions in the host's repositories, the newest first; at most 100
	Notes          []string
}

// PackageFile is the file of one version of a package.
type PackageFile struct {
	Digest string // SHA-256, lower-case hex
	Size   int64
}

// PackageChange is the package step of a Change: from one version to another. The host keeps both
// files, so that an undo needs no network.
type PackageChange struct {
	Name, Manager string
	From, To      string      // versions, as the manager writes them
	Old, New      PackageFile // Fetch fills them
	Saved         string      // the run whose files are used, without Fetch; "": the fetched ones
}

// Reversed returns the change that undoes c with the files that its run has saved.
func (c PackageChange) Reversed(run string) PackageChange {
	c.From, c.To, c.Old, c.New, c.Saved = c.To, c.From, c.New, c.Old, run
	return c
}

// What the host's package managers use in names and versions (deb-version(7), rpm-version(7)).
// No such text begins with a dash, so none is an option.
var (
	packageName    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{0,99}$`)
	packageVersion = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+:~^_-]{0,99}$`)
	packageDigest  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	managers       = []string{"apt", "dnf", "yum"}
)

// valid reports whether name, manager and versions can be those of a package.
func (c PackageChange) valid() bool {
	return packageName.MatchString(c.Name) && slices.Contains(managers, c.Manager) &&
		packageVersion.MatchString(c.From) && packageVersion.MatchString(c.To)
}

// saved reports whether its files are known too.
func (c PackageChange) saved() bool {
	return c.valid() && packageDigest.MatchString(c.Old.Digest) && packageDigest.MatchString(c.New.Digest)
}

func (c PackageChange) values() []value {
	return []value{{"package", c.Name}, {"manager", c.Manager}, {"version_old", c.From}, {"version_new", c.To}}
}

// Package asks the host's package manager for the agent's package. With refresh it first gets the
// lists of the repositories. Nothing else is changed.
func (v *VM) Package(ctx context.Context, refresh bool) (*Package, error) {
	if p := HelperProblem(v.host); p != nil {
		return nil, p
	}
	out, err := v.do(ctx, versionsTimeout, "versions", append(v.common(), value{"package", v.host.Agent.Package}, value{"refresh", yes(refresh)}))
	if err != nil {
		return nil, err
	}
	p, err := parsePackage(out)
	if err == nil {
		p.Name = v.host.Agent.Package
	}
	return p, err
}

// parsePackage parses the answer of the verb versions. It leaves out versions of another form.
func parsePackage(out []byte) (*Package, error) {
	p, f := &Package{}, parseFound(out)
	if msg, ok := f.fields["error"]; ok {
		return nil, hostSaid(msg)
	}
	if f.fields["result"] != "versions" {
		return nil, cutShort(out)
	}
	for line := range strings.Lines(string(out)) {
		key, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case key == "version" && packageVersion.MatchString(text) && len(p.Available) < maxVersions:
			p.Available = append(p.Available, intern(text))
		case key == "note" && len(p.Notes) < maxShown:
			p.Notes = append(p.Notes, display.Sanitise(text, 600))
		}
	}
	p.Manager, p.Installed = f.fields["manager"], f.fields["installed"]
	p.Broken = display.Sanitise(f.fields["broken"], 600)
	p.Held, p.OwnsUnit, p.Older = f.fields["held"] == "yes", f.fields["owns_unit"] == "yes", f.fields["older"] == "yes"
	if p.Older {
		p.Notes = append(p.Notes, "the agent was not restarted since its version was installed: it runs the former one")
	}
	if !slices.Contains(managers, p.Manager) || p.Installed != "" && !packageVersion.MatchString(p.Installed) {
		return nil, &problem.Error{Class: problem.Command, Message: fmt.Sprintf("the host reported the package manager %q and the version %q", clean(p.Manager), clean(p.Installed))}
	}
	return p, nil
}

// Fetch downloads the old and the new version's file into the tool's own folder on the host, and
// checks them, so that the installation and its undo need no network. It returns c with Old and
// New. Nothing that the agent uses is changed; Discard removes the files.
func (v *VM) Fetch(ctx context.Context, c PackageChange) (PackageChange, error) {
	if p := HelperProblem(v.host); p != nil {
		return c, p
	}
	if !c.valid() {
		return c, invalidPackage()
	}
	out, err := v.do(ctx, fetchTimeout, "fetch", append(v.common(), c.values()...))
	if err != nil {
		return c, err
	}
	return parseFetched(out, c)
}

func invalidPackage() *problem.Error {
	return &problem.Error{Class: problem.Configuration, Message: "the package's name or version has a character that no package manager uses"}
}

// parseFetched sets the files of c from the answer of the verb fetch.
func parseFetched(out []byte, c PackageChange) (PackageChange, error) {
	f := parseFound(out)
	if msg, ok := f.fields["error"]; ok {
		return c, hostSaid(msg)
	}
	c.Old, c.New = packageFile(f.fields["package_old"]), packageFile(f.fields["package_new"])
	if f.fields["result"] != "fetched" || !c.saved() {
		return c, cutShort(out)
	}
	return c, nil
}

// packageFile parses `SHA256 SIZE`.
func packageFile(text string) PackageFile {
	digest, size, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n <= 0 {
		return PackageFile{}
	}
	return PackageFile{Digest: digest, Size: n}
}

// parseSavedPackage parses `NAME MANAGER OLD NEW SHA_OLD SHA_NEW`; nil: it is not that.
func parseSavedPackage(text string) *PackageChange {
	w := strings.Fields(text)
	if len(w) != 6 {
		return nil
	}
	c := PackageChange{Name: w[0], Manager: w[1], From: w[2], To: w[3], Old: PackageFile{Digest: w[4]}, New: PackageFile{Digest: w[5]}}
	if !c.saved() {
		return nil
	}
	return &c
}

// packageValues returns what a transaction needs of the package step; an earlier script knows none
// of these keys.
func (c Change) packageValues() []value {
	if c.Package == nil {
		return nil
	}
	p := *c.Package
	return append(p.values(), value{"package_old", p.Old.Digest}, value{"package_new", p.New.Digest}, value{"package_saved", p.Saved})
}
