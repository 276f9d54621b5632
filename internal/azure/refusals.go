package azure

import "strings"

// graphHints say what to do about a refusal of Graph, by the beginning of its code.
var graphHints = []struct{ code, hint string }{
	{"CredentialInvalidLifetimeAsPerAppPolicy", "the tenant's policy wants a shorter life: aoifleet certificate new --days N, or ask its administrator for an exemption"},
	{"CredentialTypeNotAllowedAsPerAppPolicy", "the tenant's policy lets no certificate be added: ask its administrator for an exemption of the application"},
	{"CannotUpdateLockedServicePrincipalProperty", "the application's owner has locked its service principals (app instance property lock): use --on application in the application's own tenant"},
	{"Directory_ResourceSizeExceeded", retireExpired},
}

const retireExpired = "retire the expired ones: aoifleet certificate retire --expired"

// graphHint returns what to do about a refusal, "" if that is unknown. Of the policies'
// codes only the common end is certain.
func graphHint(v vendor) string {
	for _, h := range graphHints {
		if strings.HasPrefix(v.code, h.code) {
			return h.hint
		}
	}
	text := strings.ToLower(v.code + " " + v.message)
	switch {
	case !strings.Contains(text, "asperapppolicy"):
		return ""
	case strings.Contains(text, "trusted"), strings.Contains(text, "issue"), strings.Contains(text, "authorit"):
		return "the tenant's policy wants a certificate of a trusted authority: aoifleet certificate new --csr, or ask its administrator for an exemption"
	}
	return "a policy of the tenant refuses it: ask its administrator for an exemption of the application"
}
