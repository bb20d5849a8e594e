# Completion of rolesanywhere-helper, written by 'rolesanywhere-helper completion bash': do not edit.

_rolesanywhere_helper_sessions() {
    local file config="" i
    for ((i = 1; i + 1 < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == --config ]] && config=${COMP_WORDS[i + 1]}
        [[ ${COMP_WORDS[i]} == --config && $config == = ]] && config=${COMP_WORDS[i + 2]}
    done
    for file in "$config" "${ROLESANYWHERE_HELPER_CONFIG-}" \
        "${XDG_CONFIG_HOME:-$HOME/.config}/rolesanywhere-helper/config.toml" /etc/rolesanywhere-helper/config.toml; do
        if [[ -f $file && -r $file ]]; then
            sed -n 's/^[[:space:]]*\[session\.\([A-Za-z0-9_-]*\)\].*/\1/p' "$file"
            return
        fi
    done
}

_rolesanywhere_helper() {
    local cur=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} command="" value="" flags="" words="" i
    COMPREPLY=()
    # bash makes three words of --flag=value (COMP_WORDBREAKS).
    if [[ $cur == = ]]; then
        cur=""
    elif [[ $flag == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --config | --log-format | --log-file)
                [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
                ((i++))
                ;;
            -* | =) ;;
            *)
                command=${COMP_WORDS[i]}
                break
                ;;
        esac
    done
    for ((; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            compopt -o default
            ((i + 1 == COMP_CWORD)) && mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            return
        fi
    done
    case $command in
        '')
            case $flag in
                --config | --log-file) value='file' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --version --config --debug --log-format --log-file'
            words='completion credential-process configure csr demo doctor emulator env exec keygen read-certificate-data serve setup sign-string status systemd update version'
            ;;
        completion)
            case $flag in
                --config | --log-file) value='file' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --config --debug --log-format --log-file'
            words='bash fish zsh'
            ;;
        credential-process)
            case $flag in
                --session) value='session' ;;
                --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --ca-bundle | --agent-socket | --config | --log-file) value='file' ;;
                --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name | --trust-anchor-arn | --profile-arn | --role-arn | --session-duration | --role-session-name | --instance-properties | --region | --endpoint | --assume-role-arn | --external-id | --session-tags | --transitive-tag-keys | --sts-endpoint) value='text' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --session --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --trust-anchor-arn --profile-arn --role-arn --session-duration --role-session-name --instance-properties --region --endpoint --use-fips-endpoint --use-dualstack-endpoint --ca-bundle --with-proxy --no-verify-ssl --strict-key-permissions --accept-insecure-private-key-file --no-cache --assume-role-arn --external-id --session-tags --transitive-tag-keys --sts-endpoint --agent-socket --config --debug --log-format --log-file'
            words=''
            ;;
        configure)
            case $flag in
                --profile | --profile-region | --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name | --trust-anchor-arn | --profile-arn | --role-arn | --session-duration | --role-session-name | --instance-properties | --region | --endpoint | --assume-role-arn | --external-id | --session-tags | --transitive-tag-keys | --sts-endpoint) value='text' ;;
                --file | --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --ca-bundle | --agent-socket | --config | --log-file) value='file' ;;
                --session) value='session' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --profile --file --profile-region --session --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --trust-anchor-arn --profile-arn --role-arn --session-duration --role-session-name --instance-properties --region --endpoint --use-fips-endpoint --use-dualstack-endpoint --ca-bundle --with-proxy --no-verify-ssl --strict-key-permissions --accept-insecure-private-key-file --no-cache --assume-role-arn --external-id --session-tags --transitive-tag-keys --sts-endpoint --agent-socket --config --debug --log-format --log-file'
            words=''
            ;;
        csr)
            case $flag in
                --private-key | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --out | --config | --log-file) value='file' ;;
                --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --subject | --dns | --uri) value='text' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --private-key --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --strict-key-permissions --accept-insecure-private-key-file --subject --dns --uri --out --config --debug --log-format --log-file'
            words=''
            ;;
        demo)
            case $flag in
                --directory) value='directory' ;;
                --config | --log-file) value='file' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --directory --config --debug --log-format --log-file'
            words=''
            ;;
        doctor)
            case $flag in
                --profile | --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name | --trust-anchor-arn | --profile-arn | --role-arn | --session-duration | --role-session-name | --instance-properties | --region | --endpoint | --assume-role-arn | --external-id | --session-tags | --transitive-tag-keys | --sts-endpoint) value='text' ;;
                --trust-anchor-certificate | --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --ca-bundle | --agent-socket | --config | --log-file) value='file' ;;
                --session) value='session' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --profile --trust-anchor-certificate --json --strict --session --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --trust-anchor-arn --profile-arn --role-arn --session-duration --role-session-name --instance-properties --region --endpoint --use-fips-endpoint --use-dualstack-endpoint --ca-bundle --with-proxy --no-verify-ssl --strict-key-permissions --accept-insecure-private-key-file --no-cache --assume-role-arn --external-id --session-tags --transitive-tag-keys --sts-endpoint --agent-socket --config --debug --log-format --log-file'
            words=''
            ;;
        emulator)
            case $flag in
                --directory) value='directory' ;;
                --host | --port | --quota-per-second) value='text' ;;
                --ca | --config | --log-file) value='file' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --directory --host --port --tls --ca --lenient --in-memory --quota-per-second --config --debug --log-format --log-file'
            words=''
            ;;
        env)
            case $flag in
                --format) value='sh fish powershell dotenv json' ;;
                --session) value='session' ;;
                --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --ca-bundle | --agent-socket | --config | --log-file) value='file' ;;
                --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name | --trust-anchor-arn | --profile-arn | --role-arn | --session-duration | --role-session-name | --instance-properties | --region | --endpoint | --assume-role-arn | --external-id | --session-tags | --transitive-tag-keys | --sts-endpoint) value='text' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --format --session --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --trust-anchor-arn --profile-arn --role-arn --session-duration --role-session-name --instance-properties --region --endpoint --use-fips-endpoint --use-dualstack-endpoint --ca-bundle --with-proxy --no-verify-ssl --strict-key-permissions --accept-insecure-private-key-file --no-cache --assume-role-arn --external-id --session-tags --transitive-tag-keys --sts-endpoint --agent-socket --config --debug --log-format --log-file'
            words=''
            ;;
        exec)
            case $flag in
                --session) value='session' ;;
                --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --ca-bundle | --agent-socket | --config | --log-file) value='file' ;;
                --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name | --trust-anchor-arn | --profile-arn | --role-arn | --session-duration | --role-session-name | --instance-properties | --region | --endpoint | --assume-role-arn | --external-id | --session-tags | --transitive-tag-keys | --sts-endpoint) value='text' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --env --session --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --trust-anchor-arn --profile-arn --role-arn --session-duration --role-session-name --instance-properties --region --endpoint --use-fips-endpoint --use-dualstack-endpoint --ca-bundle --with-proxy --no-verify-ssl --strict-key-permissions --accept-insecure-private-key-file --no-cache --assume-role-arn --external-id --session-tags --transitive-tag-keys --sts-endpoint --agent-socket --config --debug --log-format --log-file'
            words=''
            ;;
        keygen)
            case $flag in
                --type) value='ec ec-p256 ec-p384 ec-p521 rsa rsa-2048 rsa-3072 rsa-4096 ml-dsa-44 ml-dsa-65 ml-dsa-87' ;;
                --out | --password-file | --pkcs11-lib | --pkcs11-pin-file | --config | --log-file) value='file' ;;
                --pkcs11-pin) value='text' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --type --out --password-file --tpm --pkcs11-lib --pkcs11-pin --pkcs11-pin-file --force --config --debug --log-format --log-file'
            words=''
            ;;
        read-certificate-data)
            case $flag in
                --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --config | --log-file) value='file' ;;
                --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name) value='text' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --strict-key-permissions --accept-insecure-private-key-file --config --debug --log-format --log-file'
            words=''
            ;;
        serve)
            case $flag in
                --allow-user | --allow-group | --port | --bind | --container-port | --hop-limit | --metrics-port | --start-jitter | --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name | --trust-anchor-arn | --profile-arn | --role-arn | --session-duration | --role-session-name | --instance-properties | --region | --endpoint | --assume-role-arn | --external-id | --session-tags | --transitive-tag-keys | --sts-endpoint) value='text' ;;
                --agent-socket | --ready-file | --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --ca-bundle | --config | --log-file) value='file' ;;
                --session) value='session' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --allow-user --allow-group --port --bind --container-port --hop-limit --agent-socket --metrics-port --ready-file --start-jitter --session --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --trust-anchor-arn --profile-arn --role-arn --session-duration --role-session-name --instance-properties --region --endpoint --use-fips-endpoint --use-dualstack-endpoint --ca-bundle --with-proxy --no-verify-ssl --strict-key-permissions --accept-insecure-private-key-file --no-cache --assume-role-arn --external-id --session-tags --transitive-tag-keys --sts-endpoint --config --debug --log-format --log-file'
            words=''
            ;;
        setup)
            case $flag in
                --ca | --ca-password-file | --write-config | --certificate | --private-key | --csr | --config | --log-file) value='file' ;;
                --with-local-ca) value='directory' ;;
                --name | --role-name | --subject-cn | --subject-ou | --subject-o | --duration | --policy-arn | --region | --aws-profile | --issue | --days | --revoke) value='text' ;;
                --print) value='cloudformation terraform' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --ca --with-local-ca --ca-password-file --name --role-name --subject-cn --subject-ou --subject-o --duration --policy-arn --region --aws-profile --dry-run --print --write-config --certificate --private-key --issue --csr --days --revoke --config --debug --log-format --log-file'
            words=''
            ;;
        sign-string)
            case $flag in
                --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --config | --log-file) value='file' ;;
                --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name) value='text' ;;
                --digest) value='SHA256 SHA384 SHA512' ;;
                --format) value='json text bin' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --strict-key-permissions --accept-insecure-private-key-file --digest --format --config --debug --log-format --log-file'
            words=''
            ;;
        status)
            case $flag in
                --agent-socket | --config | --log-file) value='file' ;;
                --wait) value='optional-session' ;;
                --timeout | --warning-days | --critical-days) value='text' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --agent-socket --json --wait --timeout --check --warning-days --critical-days --config --debug --log-format --log-file'
            words=''
            ;;
        systemd)
            case $flag in
                --print) value='optional-text' ;;
                --with) value='text' ;;
                --prefix) value='directory' ;;
                --config | --log-file) value='file' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --print --install --user --with --prefix --config --debug --log-format --log-file'
            words=''
            ;;
        update)
            case $flag in
                --profile | --pkcs8-password | --pkcs12-password | --pkcs11-pin | --tpm-key-password | --tpm-parent-password | --cert-selector | --cert-directory | --system-store-name | --trust-anchor-arn | --profile-arn | --role-arn | --session-duration | --role-session-name | --instance-properties | --region | --endpoint | --assume-role-arn | --external-id | --session-tags | --transitive-tag-keys | --sts-endpoint) value='text' ;;
                --file | --certificate | --private-key | --intermediates | --pkcs8-password-file | --pkcs12-password-file | --pkcs11-pin-file | --tpm-key-password-file | --tpm-parent-password-file | --pkcs11-lib | --ca-bundle | --agent-socket | --config | --log-file) value='file' ;;
                --session) value='session' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --profile --file --once --session --certificate --private-key --intermediates --pkcs8-password --pkcs8-password-file --pkcs12-password --pkcs12-password-file --pkcs11-pin --pkcs11-pin-file --tpm-key-password --tpm-key-password-file --tpm-parent-password --tpm-parent-password-file --no-tpm-key-password --pkcs11-lib --reuse-pin --cert-selector --cert-directory --use-latest-expiring-certificate --system-store-name --trust-anchor-arn --profile-arn --role-arn --session-duration --role-session-name --instance-properties --region --endpoint --use-fips-endpoint --use-dualstack-endpoint --ca-bundle --with-proxy --no-verify-ssl --strict-key-permissions --accept-insecure-private-key-file --no-cache --assume-role-arn --external-id --session-tags --transitive-tag-keys --sts-endpoint --agent-socket --config --debug --log-format --log-file'
            words=''
            ;;
        version)
            case $flag in
                --config | --log-file) value='file' ;;
                --log-format) value='text json' ;;
            esac
            flags='-h --help --config --debug --log-format --log-file'
            words=''
            ;;
        *) return ;;
    esac
    [[ $value == optional* && $cur == -* ]] && value=""
    case ${value#optional-} in
        file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            ;;
        directory)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            ;;
        session) mapfile -t COMPREPLY < <(compgen -W "$(_rolesanywhere_helper_sessions)" -- "$cur") ;;
        text) ;;
        ?*) mapfile -t COMPREPLY < <(compgen -W "$value" -- "$cur") ;;
        *)
            [[ $cur == -* || -z $words ]] && words=$flags
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
            ;;
    esac
}

complete -F _rolesanywhere_helper rolesanywhere-helper
