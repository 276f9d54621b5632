package host

import (
	"cmp"
	"slices"
	"strings"
)

// Find returns the version of the package that to means, "" if the host has none: to itself, or
// the newest with it between the epoch and the release (1:2.0.0-1.el9 for 2.0.0).
func (p *Package) Find(to string) string {
	means := func(version string) bool {
		_, whole := epoch(version)
		bare, _ := revision(whole)
		return to != "" && (to == version || to == whole || to == bare)
	}
	if i := slices.IndexFunc(p.Available, means); i >= 0 {
		return p.Available[i]
	}
	if means(p.Installed) {
		return p.Installed
	}
	return ""
}

// Newest returns the newest version in the host's repositories, "" if they have none.
func (p *Package) Newest() string {
	if len(p.Available) == 0 {
		return ""
	}
	return p.Available[0]
}

// Lower reports whether a version is lower than the installed one: as the manager has sorted them,
// else by what Debian's and RPM's rules have in common.
func (p *Package) Lower(version string) bool {
	now, next := slices.Index(p.Available, p.Installed), slices.Index(p.Available, version)
	if now >= 0 && next >= 0 {
		return next > now
	}
	return compareVersions(version, p.Installed) < 0
}

// compareVersions compares two versions as deb-version(7) does, which is nearly how rpm-version(7)
// does.
func compareVersions(a, b string) int {
	epochA, a := epoch(a)
	epochB, b := epoch(b)
	upstreamA, revisionA := revision(a)
	upstreamB, revisionB := revision(b)
	return cmp.Or(compareNumbers(epochA, epochB), compareParts(upstreamA, upstreamB), compareParts(revisionA, revisionB))
}

// compareParts compares numbers as numbers and what is between them as text.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		var partA, partB string
		partA, a = span(a, false)
		partB, b = span(b, false)
		for i := range max(len(partA), len(partB)) {
			if c := cmp.Compare(rank(partA, i), rank(partB, i)); c != 0 {
				return c
			}
		}
		partA, a = span(a, true)
		partB, b = span(b, true)
		if c := compareNumbers(partA, partB); c != 0 {
			return c
		}
	}
	return 0
}

// rank orders what is between numbers: "~" is before the end, then letters, then the rest.
func rank(part string, i int) int {
	switch {
	case i >= len(part):
		return 0
	case part[i] == '~':
		return -1
	case part[i] >= 'A':
		return int(part[i])
	}
	return int(part[i]) + 256
}

// revision cuts the revision, or release, off the end of a version.
func revision(version string) (upstream, revision string) {
	if i := strings.LastIndex(version, "-"); i >= 0 {
		return version[:i], version[i+1:]
	}
	return version, ""
}

// epoch returns the epoch of a version, "" if it has none, and the rest.
func epoch(version string) (number, rest string) {
	if before, after, found := strings.Cut(version, ":"); found {
		return before, after
	}
	return "", version
}

// span cuts the digits, or what is none, off the beginning of a version.
func span(version string, digits bool) (part, rest string) {
	i := strings.IndexFunc(version, func(c rune) bool { return (c >= '0' && c <= '9') != digits })
	if i < 0 {
		i = len(version)
	}
	return version[:i], version[i:]
}

// compareNumbers compares digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
