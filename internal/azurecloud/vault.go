package azurecloud

import "strings"

// VaultScheme begins the source of a certificate in a Key Vault:
// keyvault://VAULT/NAME[/VERSION].
const VaultScheme = "keyvault://"

// InVault reports whether the source of a certificate is in a Key Vault, well written
// or not, rather than a file.
func InVault(source string) bool {
	return len(source) >= len(VaultScheme) && strings.EqualFold(source[:len(VaultScheme)], VaultScheme)
}
