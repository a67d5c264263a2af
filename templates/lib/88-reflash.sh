# ---- library: a part of the boot loader anew -----------------------------------------------------------
#
# What Linux cannot write, or must not, has its way told line by line.

way_of_bl2() { # - BL2 on SPI-NAND
    say "  BL2 on SPI-NAND is written by U-Boot (serial console: 115200 baud, 8N1, 3.3 V):"
    say "    a PC with the address $loader_server on a LAN port, and on it a TFTP server with ${bl2_name:-the file of BL2}"
    say "    in the menu '[SPI-NAND]' choose 'U-Boot console' and type:"
    say "      setenv serverip $loader_server"
    say "      tftpboot \$loadaddr ${bl2_name:-FILE}"
    say "      hash sha256 \$loadaddr \$filesize"
    [ -z "$bl2_sum" ] || say "    it must show $bl2_sum; then:"
    say "      run snand_write_bl2"
    say "    if that goes wrong, or U-Boot does not start any more: sh $this_script reflash nand tells the way by the card"
}

way_of_nand() { # - the whole SPI-NAND, from the card
    local copy saved=''
    for copy in "$env_copies"/env-*.txt; do
        [ ! -e "$copy.sha256" ] || saved=$copy
    done
    say "  the whole SPI-NAND is written by U-Boot, from an SD card made by: sh $this_script make-sd DEVICE"
    say "  it loses the environment with the MAC addresses, the settings, and every slot's kernel. In this order:"
    say "    1. sh $this_script backup USER@HOST:FOLDER        (or in a folder here; then copy the archive to a PC${saved:+, and with it $saved})"
    say "    2. power off, card in, SW3 to A=${switch_sd%?} B=${switch_sd#?}, power on; the menu must say '[SD card]'"
    say "    3. menu item 7, 'Install bootloader, recovery and production to NAND.'"
    say "    4. power off, SW3 to A=${switch_nand%?} B=${switch_nand#?}, power on; the menu must say '[SPI-NAND]'"
    say "    5. this script and the backup back to the router; of the old environment only the MAC addresses, by these lines:"
    say "         tar -C /tmp -xzf ARCHIVE && grep -hE '^eth1?addr=' /tmp/bootplan-*/uboot-env.txt | tr = ' ' >/tmp/addresses"
    say "         cat /tmp/addresses && fw_setenv -s /tmp/addresses && fw_printenv ethaddr eth1addr"
    say "    6. sh $this_script restore ARCHIVE --no-env --apply, restart, and: sh $this_script install (slots and bootargs are made by it)"
}

way_of_emmc() { # - the eMMC: SPI-NAND first, then the eMMC from there
    say "  the eMMC is written by U-Boot when it was started from SPI-NAND:"
    say "    1. if SPI-NAND holds no OpenWrt U-Boot: sh $this_script reflash nand tells how the card puts one there"
    say "    2. power off, SW3 to A=${switch_nand%?} B=${switch_nand#?}, power on; the menu must say '[SPI-NAND]'"
    say "    3. menu item 9, 'Install bootloader, recovery and production to eMMC.' (loses the eMMC's environment and settings)"
    say "    4. power off, SW3 to A=${switch_emmc%?} B=${switch_emmc#?}, power on; the menu must say '[eMMC]'"
    say "  or start Linux from SPI-NAND, and give the same command there: it keeps the environment"
}

reflash_walk() { # PART WHERE - one walk: the files, and their places
    local what device list=$1
    # FIP before BL2: as long as BL2 is the old one it still starts, and says on the serial console what is wrong with a FIP
    # that was cut off; a torn BL2 says nothing. Recovery first: nothing depends on it.
    [ "$1" != emmc ] || list="${recovery_name:+recovery }fip bl2"
    for what in $list; do
        at="$what"
        if [ "$phase" = look ]; then
            source_bytes=0
            need_file "$what" "$2"
            printf '%s\n' "$source_sum" >"$work/sum.$what"
        else
            say "[$what]"
            read -r source_sum <"$work/sum.$what"
            source_bytes=$(wc -c <"$work/new.$what")
        fi
        case $loader_medium/$what/$flash_layout in
            nand/fip/openwrt) put_volume ;;
            nand/bl2/openwrt) put_mtd bl2 bl2 4 ;;
            nand/fip/vendor) put_mtd fip FIP 1 ;;
            nand/bl2/vendor) put_mtd bl2 BL2 1 ;;
            emmc/bl2/*)
                put_block bl2 mmcblk0boot0
                put_config
                ;;
            emmc/*)
                device=$(card_part_named "$what")
                put_block "$what" "$device"
                ;;
            *) ;;
        esac
    done
}

action_reflash() { # PART WHERE - a part of the boot loader anew
    plan_bootloader
    see_flash
    if [ "$1" = nand ]; then
        way_of_nand
        refuse "the whole SPI-NAND cannot be written while Linux runs; the way above works"
    elif [ "$loader_medium" = none ]; then
        refuse "this plan names no boot loader files (bootloader:)"
    elif [ "$1/$loader_medium" = emmc/nand ]; then
        way_of_emmc
        refuse "the plan's boot loader files are for SPI-NAND; the way above works"
    elif [ "$loader_medium" = emmc ]; then
        need_emmc
    fi
    stop_if_refused
    reflash_walk "$1" "$2"
    stop_if_refused
    phase=change
    reflash_walk "$1" "$2"
    finish "The next power-on starts $boots. Keep the card at hand until it did."
}
