#!/bin/sh
# Makes the managed identity of a jump host in Azure an owner of the agents' application, so that
# `aoifleet certificate register` works there without a login. Run it as an administrator of the
# tenant: az login.
set -eu
application=$1 # client id of the agents' application
identity=$2    # object id of the managed identity: az vm identity show -g GROUP -n VM --query principalId -o tsv

az ad app owner add --id "$application" --owner-object-id "$identity"

# Application.ReadWrite.OwnedBy of Microsoft Graph.
graph=$(az ad sp show --id 00000003-0000-0000-c000-000000000000 --query id -o tsv)
az rest --method POST --url "https://graph.microsoft.com/v1.0/servicePrincipals/$identity/appRoleAssignments" \
	--body "{\"principalId\": \"$identity\", \"resourceId\": \"$graph\", \"appRoleId\": \"18a4783c-866b-4cc7-a460-3d5e5662c884\"}"
