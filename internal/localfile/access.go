package localfile

import (
	"regexp"
	"slices"
	"strings"
)

// accessEntry matches an entry of an access list: type;flags;rights;object;inherited;trustee
// ([MS-DTYP] 2.5.1.1).
var accessEntry = regexp.MustCompile(`\((\w+);(\w*);([^;]*);[^;]*;[^;]*;([^;)]*)`)

// trusteeNames are the abbreviations of [MS-DTYP] 2.5.1.1 that folders of Windows have.
var trusteeNames = map[string]string{"WD": "Everyone", "BU": "Users", "AU": "Authenticated Users", "IU": "Interactive", "BG": "Guests"}

// othersIn returns to whom a security descriptor grants anything, as ssh on Windows judges a
// private key: to any but the user, the system and the administrators
// (check_secure_file_permission in w32-sshfileperm.c of Win32-OpenSSH). self is the user's SID.
func othersIn(descriptor, self string) []string {
	_, list, found := strings.Cut(descriptor, "D:")
	if !found || strings.Contains(list, "NO_ACCESS_CONTROL") {
		return []string{trusteeNames["WD"]}
	}
	trusted := []string{self, "SY", "BA", "S-1-5-18", "S-1-5-32-544"}
	if strings.HasPrefix(self, "S-1-5-21-") && strings.HasSuffix(self, "-500") {
		trusted = append(trusted, "LA") // the built-in administrator
	}
	var others []string
	for _, entry := range accessEntry.FindAllStringSubmatch(list, -1) {
		kind, flags, trustee := entry[1], entry[2], entry[4]
		inheritOnly := strings.Contains(flags, "IO")
		if name := trusteeNames[trustee]; name != "" {
			trustee = name
		}
		if strings.HasSuffix(kind, "A") && !inheritOnly && !slices.Contains(trusted, trustee) && !slices.Contains(others, trustee) {
			others = append(others, trustee)
		}
	}
	return others
}
