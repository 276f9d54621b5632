package azure

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// identity is who a token is for, as its claims say: "Access token claims reference" of the
// Microsoft identity platform. The token comes from Entra itself, so no signature is checked;
// nothing is allowed because of it.
type identity struct {
	name    string // the user, or the application; "": unknown
	tenant  string // tid
	user    bool
	managed bool // a managed identity
}

func identityOf(token string) identity {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		return identity{}
	}
	claim := func(name string) string { text, _ := claims[name].(string); return clean(text, 120) }
	client, object := cmp.Or(claim("appid"), claim("azp")), claim("oid")
	i := identity{tenant: claim("tid"), managed: claim("xms_mirid") != ""}
	if user := cmp.Or(claim("upn"), claim("unique_name"), claim("preferred_username")); user != "" && claim("idtyp") != "app" {
		i.name, i.user = user, true
	} else if client != "" {
		i.name = "application " + client
		if i.managed {
			i.name = "managed identity " + client
		}
	}
	if i.name != "" && object != "" {
		i.name += " (object " + object + ")"
	}
	return i
}

// signedIn returns " (signed in as …)", "" if it is unknown.
func (i identity) signedIn() string {
	if i.name == "" {
		return ""
	}
	text := "signed in as " + i.name
	if i.tenant != "" {
		text += " of tenant " + i.tenant
	}
	return " (" + text + ")"
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// elsewhere reports whether a token is certainly of another tenant: a tenant has several
// names, but only one id.
func (i identity) elsewhere(tenant string) bool {
	return guid.MatchString(tenant) && guid.MatchString(i.tenant) && !strings.EqualFold(tenant, i.tenant)
}

// toUseAz is how to sign in as a person where another identity is found first.
const toUseAz = "to use az login instead, set AZURE_TOKEN_CREDENTIALS=AzureCLICredential"

// ownerHint returns what gives an identity the right to change an application.
func (i identity) ownerHint(tenant string) string {
	switch {
	case i.managed:
		return "make it an owner of the application and grant it Application.ReadWrite.OwnedBy; " + toUseAz
	case i.name != "" && !i.user:
		return "make it an owner of the application and grant it Application.ReadWrite.OwnedBy"
	}
	login := "az login"
	if tenant != "" {
		login += " --tenant " + tenant
	}
	return "sign in as an owner of the application, or with the role Cloud Application Administrator: " + login
}
