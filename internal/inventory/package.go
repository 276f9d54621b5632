package inventory

import "regexp"

// packageNames is what Debian's and RPM's names of packages have in common: deb-control(5),
// "Package". A leading "-" would be an option to the package manager.
var packageNames = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{0,99}$`)

// packageName reads the name of a package.
func (v value) packageName(to *string) {
	if v.describes(textShape(matching(packageNames.String()))) {
		return
	}
	switch s, ok := v.text(); {
	case !ok:
	case !packageNames.MatchString(s):
		v.fail("the agent's is az-aoi-ingestion", "%s is not the name of a package: a-z, 0-9, +, . and -, at most 100 characters", v.key)
	default:
		*to = s
	}
}
