//! The proof, and that it notices a wrong declaration.

mod common;

use abi::Result;
use abi::model::{Field, Structure, Table, Type};
use abi::proof::{Proof, Witnesses};
use common::installed;
use std::sync::LazyLock;

/// The headers are asked once for all tests.
static WITNESSES: LazyLock<Result<Witnesses>> = LazyLock::new(Witnesses::hear);

/// The proof of wsk-sys with a mistake made in its table; nothing where there are no headers.
fn doctored(mistake: impl FnOnce(&mut Table)) -> Option<Proof> {
    let mut table = Table::wsk_sys();
    mistake(&mut table);
    Some(installed(WITNESSES.as_ref())?.prove(&table).expect("the import libraries are there"))
}

fn structure<'a>(table: &'a mut Table, name: &str) -> &'a mut Structure {
    table.structures.iter_mut().find(|it| it.name == name).expect("wsk-sys has the structure")
}

fn field<'a>(table: &'a mut Table, of: &str, name: &str) -> &'a mut Field {
    structure(table, of).fields.iter_mut().find(|it| it.name == name).expect("the structure has the field")
}

/// Asserts that exactly these are wrong, said by whoever has the name.
fn assert_wrong(proof: Option<Proof>, expected: &[&str]) {
    let Some(proof) = proof else { return };
    let mut wrong: Vec<_> = proof.unexplained.iter().map(String::as_str).collect();
    wrong.sort_unstable();
    assert_eq!(wrong, expected);
}

#[test]
fn wsk_sys_agrees_with_the_headers_of_others() {
    let Some(proof) = doctored(|_| ()) else { return };
    print!("{proof}");
    assert!(proof.unexplained.is_empty(), "{proof}");
    // A proof that compared little would be none.
    for (compared, least) in
        proof.compared.iter().zip([[35, 200, 200, 80], [50, 220, 190, 90], [30, 170, 190, 0], [9, 20, 40, 7]])
    {
        let counts = [compared.structures, compared.fields, compared.constants, compared.functions];
        assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{proof}");
    }
    assert!(proof.imports > 80, "{proof}");
}

#[test]
fn a_wrong_offset_is_noticed() {
    let proof = doctored(|table| field(table, "IRP", "Cancel").offset += 1);
    let wrong =
        ["Wine", "mingw-w64", "windows-sys"].map(|who| format!("{who}: IRP.Cancel: offset 0x45 here, 0x44 there"));
    assert_wrong(proof, &wrong.each_ref().map(String::as_str));
}

#[test]
fn a_swapped_slot_is_noticed() {
    let proof = doctored(|table| {
        let slots = [("WskSend", 56), ("WskReceive", 48)];
        for (name, offset) in slots {
            field(table, "WSK_PROVIDER_CONNECTION_DISPATCH", name).offset = offset;
        }
    });
    assert_wrong(
        proof,
        &[
            "Wine: WSK_PROVIDER_CONNECTION_DISPATCH.WskReceive: offset 0x30 here, 0x38 there",
            "Wine: WSK_PROVIDER_CONNECTION_DISPATCH.WskSend: offset 0x38 here, 0x30 there",
        ],
    );
}

#[test]
fn a_slot_of_the_wrong_type_is_noticed() {
    let proof = doctored(|table| {
        let other = field(table, "WSK_PROVIDER_LISTEN_DISPATCH", "WskBind").ty.clone();
        field(table, "WSK_PROVIDER_LISTEN_DISPATCH", "WskAccept").ty = other;
    });
    let Some(proof) = proof else { return };
    assert!(
        matches!(&proof.unexplained[..], [one] if one.starts_with("Wine: WSK_PROVIDER_LISTEN_DISPATCH.WskAccept: type ")),
        "{proof}"
    );
}

#[test]
fn a_wrong_constant_is_noticed() {
    let proof = doctored(|table| {
        for constant in &mut table.constants {
            match constant.name {
                "STATUS_CANCELLED" => constant.value += 1,
                "WSK_FLAG_STREAM_SOCKET" => constant.value = 0x10,
                "WSK_FLAG_NODELAY" => constant.value = 4,
                _ => {}
            }
        }
    });
    assert_wrong(
        proof,
        &[
            "Wine: STATUS_CANCELLED: value 0xc0000121 here, 0xc0000120 there",
            "Wine: WSK_FLAG_STREAM_SOCKET: value 0x10 here, 0x8 there",
            "by hand: WSK_FLAG_NODELAY: value 0x4 here, 0x2 there",
            "mingw-w64: STATUS_CANCELLED: value 0xc0000121 here, 0xc0000120 there",
            "windows-sys: STATUS_CANCELLED: value 0xc0000121 here, 0xc0000120 there",
        ],
    );
}

#[test]
fn a_wrong_size_is_noticed() {
    let proof = doctored(|table| structure(table, "WSK_DATAGRAM_INDICATION").size = 48);
    assert_wrong(proof, &["Wine: WSK_DATAGRAM_INDICATION: size 0x30 here, 0x38 there"]);
}

#[test]
fn a_wrong_prototype_is_noticed() {
    for (name, parameter) in [("IoAllocateIrp", 0), ("PFN_WSK_RECEIVE_FROM", 4), ("PFN_WSK_RECEIVE_FROM_EVENT", 2)] {
        let proof = doctored(|table| {
            let function = table.functions.iter_mut().find(|it| it.name == name).expect("wsk-sys has the function");
            let Type::Function(_, parameters) = &mut function.ty else { panic!("a function has parameters") };
            parameters[parameter] = Type::Integer { bytes: 4, signed: false };
        });
        let Some(proof) = proof else { return };
        let named = |one: &String| one.contains(&format!(": {name}: type Function("));
        assert!(!proof.unexplained.is_empty() && proof.unexplained.iter().all(named), "{proof}");
    }
}

#[test]
fn a_function_that_nobody_exports_is_noticed() {
    let proof = doctored(|table| {
        let function =
            table.functions.iter_mut().find(|it| it.name == "WskRegister").expect("wsk-sys has the function");
        function.library = Some("ntoskrnl.exe");
    });
    assert_wrong(proof, &["WskRegister of ntoskrnl.exe: not in its import library"]);
}

#[test]
fn a_declaration_that_no_header_has_is_noticed() {
    let proof = doctored(|table| {
        let mut structure = structure(table, "WSK_BUF").clone();
        structure.name = "WSK_BUFFER";
        structure.fields.truncate(1);
        table.structures.push(structure);
        table.others.push("SOME_TEXT");
    });
    assert_wrong(
        proof,
        &["SOME_TEXT: no header has it", "WSK_BUFFER.Mdl: no header has it", "WSK_BUFFER: no header has it"],
    );
}
