#!/bin/sh
# Makes a shared access signature with which backups work and nothing can be deleted or replaced.
#
#   azure-append-only.sh ACCOUNT CONTAINER EXPIRY      like 2027-06-30
#
# Run it as somebody who has the account's key or `az login`. The signature is bound to a stored access
# policy of the container: delete that policy, and whoever got hold of the signature is shut out.
# Where the tier has a `lock`, RIGHTS=rcli.
set -eu
account=$1 container=$2 expiry=$3
policy=lifeboat-append-only

az storage container policy create --account-name "$account" --container-name "$container" \
  --name "$policy" --permissions "${RIGHTS:-rcl}" --expiry "$expiry" >&2
az storage container generate-sas --account-name "$account" --name "$container" \
  --policy-name "$policy" --https-only --output tsv
