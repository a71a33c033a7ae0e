//! Names of card models by their AAGUID, from the FIDO metadata service.

const KNOWN: [(u128, &str); 2] = [
    (0x9d3d_f6ba_282f_11ed_a261_0242_ac12_0002, "Arculus FIDO2/U2F Key Card"),
    (0x3f59_672f_20aa_4afe_b6f4_7e5e_916b_6d98, "Arculus FIDO 2.1 Key Card [P71]"),
];

/// The model's name, if it is one of the known.
pub(super) fn name(aaguid: [u8; 16]) -> Option<&'static str> {
    let number = u128::from_be_bytes(aaguid);
    KNOWN.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}
